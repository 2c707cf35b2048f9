package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"kalamdb/client"
	"kalamdb/sql"
)

// An importer sends a file to a table.
//
// The rows of a file are done in their order: inserted, or bad. The state says before each
// INSERT which rows may be on their way, so whoever goes on knows that all before them are
// done and none after them is begun. An INSERT is all or nothing. If its answer is lost and the
// rows have keys, it is sent again: either it succeeds, or all keys are there, written after the
// last INSERT that was answered, and it had arrived.
type importer struct {
	server    *importServer
	table     *importTable
	source    importSource
	state     *importState
	batchRows int
	maxBad    int // -1: any number
	inFlight  string
	badRows   *os.File // nil: none is kept
	log       io.Writer
	progress  *progress
}

// A batch is some rows in the order of the file.
type batch struct {
	records []*record
	unsure  bool // it may have arrived before
}

const (
	batchParamsMax = 30_000  // the server takes 32,767
	batchBytesMax  = 1 << 20 // of cells; the server takes 2 MiB
)

// read makes batches of what is left of the file. The first one is what may be on its way.
func (im *importer) read(ctx context.Context, to chan<- *batch) error {
	most := max(1, min(im.batchRows, batchParamsMax/len(im.source.columns())))
	b, bytes := &batch{}, 0
	unsure := int(im.state.Sending)
	flush := func() error {
		if len(b.records) == 0 {
			return nil
		}
		select {
		case to <- b:
			b, bytes = &batch{}, 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	from := *im.state // the sender changes it from here on
	err := im.source.each(ctx, &from, func(r *record) error {
		n := 0
		for _, c := range r.cells {
			n += len(c)
		}
		full := len(b.records) >= most || bytes+n > batchBytesMax
		if unsure > 0 {
			full, b.unsure = false, true
		}
		if full {
			if err := flush(); err != nil {
				return err
			}
		}
		b.records, bytes = append(b.records, r), bytes+n
		if unsure--; unsure == 0 {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	return err
}

// sendAll sends batches until there is no more.
func (im *importer) sendAll(ctx context.Context, batches <-chan *batch) error {
	for b := range batches {
		if b.unsure && !slices.ContainsFunc(b.records, func(r *record) bool { return r.err != nil }) { // else the file has changed, and other rows were sent
			if err := im.sendUnsure(ctx, b.records); err != nil {
				return err
			}
			continue
		}
		for rest := b.records; len(rest) > 0; {
			n := 0
			for n < len(rest) && rest[n].err == nil {
				n++
			}
			if n > 0 {
				if err := im.send(ctx, rest[:n]); err != nil {
					return err
				}
			}
			if rest = rest[n:]; len(rest) > 0 {
				if err := im.bad(rest[0], "", rest[0].err.Error()); err != nil {
					return err
				}
				rest = rest[1:]
			}
		}
	}
	return im.save(0)
}

// errInFlight says that rows may have arrived and nobody can tell.
var errInFlight = errors.New("nobody knows whether they arrived")

// sendUnsure sends rows again that may have arrived.
func (im *importer) sendUnsure(ctx context.Context, records []*record) error {
	if !im.keyed(records) {
		switch im.inFlight {
		case "skip":
			return im.done(records, true)
		case "":
			return im.notSure(records)
		}
		return im.send(ctx, records)
	}
	err := im.insert(ctx, records, true)
	if err == nil {
		return im.done(records, true)
	}
	return im.divide(ctx, records, err)
}

func (im *importer) notSure(records []*record) error {
	return fmt.Errorf("%ss %d to %d were on their way and %w: look whether they are in %s, then go on with --in-flight again or --in-flight skip",
		im.source.unit(), records[0].line, records[len(records)-1].last, errInFlight, im.table.name)
}

// send inserts rows; those that cannot be are bad.
func (im *importer) send(ctx context.Context, records []*record) error {
	if err := im.save(len(records)); err != nil {
		return err
	}
	err := im.insert(ctx, records, false)
	if err == nil {
		return im.done(records, true)
	}
	return im.divide(ctx, records, err)
}

// divide finds the bad row that err is about, and sends the others.
func (im *importer) divide(ctx context.Context, records []*record, err error) error {
	refusal := (*client.Error)(nil)
	if !errors.As(err, &refusal) || kindOf(err) != refusedRow {
		return err
	}
	if len(records) == 1 {
		return im.bad(records[0], refusal.Code, refusal.Message)
	}
	_, rows := im.statement(records)
	parts := [][]*record{records[:len(records)/2], records[len(records)/2:]}
	if at := refusal.Position; at >= rows[0] {
		i := sort.SearchInts(rows, at+1) - 1
		parts = [][]*record{records[:i], records[i : i+1], records[i+1:]}
	}
	for _, part := range parts {
		if len(part) == 0 {
			continue
		}
		if err := im.send(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

const importTimeout = 2 * time.Minute // of one INSERT

// insert runs one INSERT until it is answered; one that has begun is waited for when ctx is done.
func (im *importer) insert(ctx context.Context, records []*record, unsure bool) error {
	text, _ := im.statement(records)
	params := make([]any, 0, len(records)*len(im.source.columns()))
	for _, r := range records {
		for _, i := range im.source.columns() {
			if r.cells[i] != nil {
				params = append(params, r.cells[i])
			}
		}
	}
	return im.server.retrying(ctx, func() error {
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), importTimeout)
		defer cancel()
		res, err := im.server.exec(sending, text, params...)
		refusal := (*client.Error)(nil)
		switch {
		case err == nil:
			im.state.Seq = max(im.state.Seq, res.Seq)
			return nil
		case kindOf(err) == nobodyKnows && ctx.Err() == nil:
			if unsure = true; !im.keyed(records) {
				switch im.inFlight {
				case "skip":
					return nil
				case "":
					return fmt.Errorf("%w: %w", err, im.notSure(records))
				}
			}
		case unsure && errors.As(err, &refusal) && refusal.Code == "DUPLICATE_KEY":
			arrived, looked := im.arrived(ctx, records)
			if arrived || looked != nil {
				return looked
			}
		}
		return err
	})
}

// statement is an INSERT of the columns that some of the rows have, and where in it each row begins.
func (im *importer) statement(records []*record) (text string, rows []int) {
	var b strings.Builder
	columns := im.source.columns()
	used := make([]int, 0, len(columns))
	for _, i := range columns {
		for _, r := range records {
			if r.cells[i] != nil {
				used = append(used, i)
				break
			}
		}
	}
	if len(used) == 0 {
		used = columns
	}
	b.WriteString("INSERT INTO " + im.table.quotedName() + " (")
	for n, i := range used {
		if n > 0 {
			b.WriteString(", ")
		}
		b.WriteString(sql.QuoteIdent(im.table.columns[i].name))
	}
	b.WriteString(") VALUES ")
	param := 0
	for n, r := range records {
		if n > 0 {
			b.WriteByte(',')
		}
		rows = append(rows, b.Len())
		for n, i := range used {
			b.WriteByte("(,"[min(n, 1)])
			if r.cells[i] == nil {
				b.WriteString("DEFAULT")
				continue
			}
			param++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(param))
		}
		b.WriteByte(')')
	}
	return b.String(), rows
}

// keyed says whether all rows have all columns of the primary key.
func (im *importer) keyed(records []*record) bool {
	for _, r := range records {
		for _, i := range im.table.key {
			if r.cells[i] == nil || string(r.cells[i]) == "null" {
				return false
			}
		}
	}
	return len(im.table.key) > 0
}

const arrivedKeysMax = 500 // of one SELECT

// arrived says whether the table has all keys of the rows since the last INSERT that was
// answered, also those that were deleted again.
func (im *importer) arrived(ctx context.Context, records []*record) (bool, error) {
	for len(records) > 0 {
		part := records[:min(arrivedKeysMax, len(records))]
		records = records[len(part):]
		var b strings.Builder
		var params []any
		b.WriteString("SELECT count(*) AS n FROM " + im.table.quotedName() + " AS t WHERE ")
		if im.table.versioned {
			fmt.Fprintf(&b, "t._seq > %d AND t._deleted IS NOT NULL AND ", im.state.Seq)
		}
		b.WriteString("EXISTS (SELECT 1 FROM (VALUES ")
		for n, r := range part {
			if n > 0 {
				b.WriteByte(',')
			}
			for k, i := range im.table.key {
				b.WriteByte("(,"[min(k, 1)])
				params = append(params, plain(r.cells[i]))
				value := "$" + strconv.Itoa(len(params))
				if typ := im.table.columns[i].typ; typ == "BLOB" {
					value = "from_base64(" + value + ")"
				} else {
					value = "CAST(" + value + " AS " + typ + ")"
				}
				b.WriteString(value)
			}
			b.WriteByte(')')
		}
		b.WriteString(") AS k(")
		for k := range im.table.key {
			b.WriteString(strings.Repeat(", ", min(k, 1)) + "k" + strconv.Itoa(k))
		}
		b.WriteString(") WHERE ")
		for k, i := range im.table.key {
			b.WriteString(strings.Repeat(" AND ", min(k, 1)) + "t." + sql.QuoteIdent(im.table.columns[i].name) + " = k.k" + strconv.Itoa(k))
		}
		b.WriteString(")")
		res, err := im.server.exec(ctx, b.String(), params...)
		if err != nil {
			return false, err
		}
		if fmt.Sprint(res.Rows[0]["n"]) != strconv.Itoa(len(part)) {
			return false, nil
		}
	}
	return true, nil
}

// done says that rows are done, inserted or not.
func (im *importer) done(records []*record, inserted bool) error {
	for _, r := range records {
		im.source.advance(r)
	}
	last := records[len(records)-1]
	im.state.Position, im.state.Line = last.end, last.last
	if inserted {
		im.state.Inserted += int64(len(records))
	} else {
		im.state.Bad += int64(len(records))
	}
	im.state.Sending = 0
	im.progress.at(last.end, im.source.size(), im.state.Inserted)
	return nil
}

// bad puts a row aside, or ends the import.
func (im *importer) bad(r *record, code, why string) error {
	if code != "" {
		code += ": "
	}
	reason := fmt.Sprintf("%s %d: %s%s", im.source.unit(), r.line, code, why)
	if im.maxBad >= 0 && im.state.Bad >= int64(im.maxBad) {
		if err := im.save(0); err != nil {
			return err
		}
		if im.maxBad > 0 {
			return fmt.Errorf("%s (more than --max-bad %d)", reason, im.maxBad)
		}
		return errors.New(reason)
	}
	im.progress.say(reason)
	if im.badRows != nil {
		line, err := encode(badRow{r.line, code + why, string(r.raw), r.cellsIfNoText()})
		if err == nil {
			_, err = im.badRows.Write(append(line, '\n'))
		}
		if err != nil {
			return err
		}
	}
	if err := im.done([]*record{r}, false); err != nil {
		return err
	}
	return im.save(0)
}

// A badRow is a line of the file of bad rows.
type badRow struct {
	Line  int64             `json:"line"`
	Error string            `json:"error"`
	Raw   string            `json:"raw,omitempty"`
	Cells []json.RawMessage `json:"values,omitempty"`
}

// cellsIfNoText are the values of a row that has no text of its own.
func (r *record) cellsIfNoText() []json.RawMessage {
	if r.raw != nil {
		return nil
	}
	return r.cells
}

// save notes where the import stands; sending rows are on their way from now on.
func (im *importer) save(sending int) error {
	im.state.Sending = int64(sending)
	im.state.Sum = hex.EncodeToString(im.source.sum())
	return im.state.save()
}
