package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"kalamdb/client"
	"kalamdb/row"
	"kalamdb/sql"
)

// An importTable is the table as its server describes it.
type importTable struct {
	name    string // quoted where it has to be
	columns []importColumn
	key     []int // columns of the primary key

	versioned bool // it has system columns
}

type importColumn struct{ name, typ string }

// column finds a column by its name in a file. It is -1 for what a table has by itself:
// a file that was exported may have it.
func (t *importTable) column(name string) (int, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		if c.name == name {
			return i, nil
		}
		names[i] = c.name
	}
	if slices.Contains([]string{row.ColSeq, row.ColUpdated, row.ColDeleted}, name) {
		return -1, nil
	}
	return 0, unknownWord("column of "+t.name, name, names)
}

// An importServer runs statements, again if the server is not there for a while.
type importServer struct {
	identify func() (identity, error)
	url      string
	log      io.Writer

	remote remote
	since  time.Time // of remote; zero if there is none
}

const (
	identityAge    = localTokenTTL / 2 // after which another one is made
	importRetryMax = 2 * time.Minute   // without an answer
)

func (s *importServer) close() {
	if !s.since.IsZero() {
		s.remote.c.Close()
	}
}

// exec runs one statement once.
func (s *importServer) exec(ctx context.Context, text string, params ...any) (client.Result, error) {
	if s.since.IsZero() || time.Since(s.since) > identityAge {
		who, err := s.identify()
		if err != nil {
			return client.Result{}, err
		}
		s.close()
		s.remote, s.since = newRemote(s.url, who), time.Now()
	}
	results, err := s.remote.c.Exec(ctx, text, params...)
	if err != nil {
		return client.Result{}, err
	}
	if len(results) != 1 {
		return client.Result{}, fmt.Errorf("the server answered %d results, expected 1", len(results))
	}
	return results[0], nil
}

// An outcomeKind is what an error says about a statement.
type outcomeKind int

const (
	refusedRow  outcomeKind = iota // because of a value
	refused                        // for good
	notNow                         // nothing happened, it may succeed later
	nobodyKnows                    // whether it happened
)

func kindOf(err error) outcomeKind {
	e := (*client.Error)(nil)
	if !errors.As(err, &e) {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return notNow
		}
		return nobodyKnows
	}
	switch {
	case slices.Contains([]string{"INVALID_VALUE", "NOT_NULL_VIOLATION", "DUPLICATE_KEY", "TYPE_MISMATCH", "TOO_LARGE"}, e.Code):
		return refusedRow
	case e.Status == http.StatusTooManyRequests, slices.Contains([]string{"BUFFER_FULL", "BUSY", "CONFLICT", "RATE_LIMITED"}, e.Code):
		return notNow
	case e.Status == http.StatusRequestEntityTooLarge:
		return refusedRow
	case e.Status >= http.StatusInternalServerError:
		return nobodyKnows
	}
	return refused
}

// retrying calls f until it succeeds, it is refused, or nothing succeeded for long.
func (s *importServer) retrying(ctx context.Context, f func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 50*time.Millisecond, 10*time.Second
	began := time.Now()
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if kind := kindOf(err); kind != notNow && kind != nobodyKnows || time.Since(began) > importRetryMax || errors.Is(err, errInFlight) {
			return err
		}
		pause := wait.NextBackOff()
		if e := (*client.Error)(nil); errors.As(err, &e) {
			pause = max(pause, e.RetryAfter)
		}
		fmt.Fprintf(s.log, "kalamdb: %v; trying again in %s\n", err, pause.Round(time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// describe asks for the table.
func (s *importServer) describe(ctx context.Context, name string) (*importTable, error) {
	parts := strings.Split(strings.ToLower(name), ".")
	for i, part := range parts {
		parts[i] = sql.QuoteIdent(strings.Trim(part, `"`))
	}
	t := &importTable{name: strings.ReplaceAll(strings.Join(parts, "."), `"`, "")}
	res, err := s.exec(ctx, "DESCRIBE "+strings.Join(parts, "."))
	if err != nil {
		return nil, err
	}
	for _, r := range res.Rows {
		if r["extra"] == "SYSTEM" {
			t.versioned = true
			continue
		}
		if r["key"] == "PRI" {
			t.key = append(t.key, len(t.columns))
		}
		t.columns = append(t.columns, importColumn{fmt.Sprint(r["column_name"]), fmt.Sprint(r["column_type"])})
	}
	return t, nil
}

// newestSeq is the Seq of the newest row of the caller.
func (s *importServer) newestSeq(ctx context.Context, t *importTable) (uint64, error) {
	if !t.versioned {
		return 0, nil
	}
	res, err := s.exec(ctx, "SELECT coalesce(max(_seq), 0)::VARCHAR AS seq FROM "+t.quotedName()+" WHERE _deleted IS NOT NULL")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(fmt.Sprint(res.Rows[0]["seq"]), 10, 64)
}

// quotedName is the table in a statement.
func (t *importTable) quotedName() string {
	parts := strings.Split(t.name, ".")
	for i, part := range parts {
		parts[i] = sql.QuoteIdent(part)
	}
	return strings.Join(parts, ".")
}
