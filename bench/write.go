package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	knownRows = 20_000    // that are there to be changed
	knownStep = 7919      // prime to knownRows: no key comes twice before all came once
	bulkRows  = 1_000_000 // of one INSERT … SELECT

	writeColumns = "(id BIGINT PRIMARY KEY, conversation TEXT, body TEXT, n BIGINT) FLUSH POLICY ROWS 10000000 INTERVAL '1 hour'"
	bulkAsked    = 150_000 // rows a second
)

// A writeCase is a statement of one row, measured against INSERT. It has the table as %s,
// the key as $1 and a number as $2.
type writeCase struct {
	what, text string
	fresh      bool    // the key is new
	most       float64 // times the INSERT
}

const writeInsert = "INSERT INTO %s VALUES ($1, 'c7', '" + bodyText + "', $2)"

var writeCases = []writeCase{
	{"UPDATE by key", "UPDATE %s SET n = $2 WHERE id = $1", false, 3},
	{"UPDATE n = n + … by key", "UPDATE %s SET n = n + $2 WHERE id = $1", false, 3},
	{"UPDATE n = n * 2 + … by key", "UPDATE %s SET n = n * 2 + $2 WHERE id = $1", false, 3},
	{"UPDATE n = abs(n) + … by key", "UPDATE %s SET n = abs(n) + $2 WHERE id = $1", false, 3},
	{"ON CONFLICT, new key", writeInsert + " ON CONFLICT (id) DO UPDATE SET n = excluded.n", true, 2},
	{"ON CONFLICT DO UPDATE", writeInsert + " ON CONFLICT (id) DO UPDATE SET n = excluded.n", false, 2},
	{"ON CONFLICT DO NOTHING", writeInsert + " ON CONFLICT (id) DO NOTHING", false, 2},
}

// benchWrite compares, over one connection, statements that change one row with the
// INSERT of one, when the rows that are there are buffered, and when they are in a file.
// Then it counts the rows of INSERT … SELECT.
func benchWrite(ctx context.Context, bin string, length time.Duration, rep *report) error {
	s, err := startServer(ctx, bin)
	if err != nil {
		return err
	}
	defer s.stop()
	c, err := dial(s)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.sql("CREATE NAMESPACE app"); err != nil {
		return err
	}
	for i, cs := range writeCases {
		for _, flushed := range []bool{false, true} {
			table := fmt.Sprintf("app.w%d_%t", i, flushed)
			if err := writeTable(c, table, flushed); err != nil {
				return err
			}
			if err := compareWrites(ctx, c, cs, table, flushed, length/2, rep); err != nil {
				return fmt.Errorf("%s: %w", cs.what, err)
			}
		}
	}
	return bulkWrites(c, rep)
}

// writeTable makes a table with the known rows.
func writeTable(c *conn, table string, flushed bool) error {
	text := "CREATE USER TABLE " + table + " " + writeColumns +
		fmt.Sprintf("; INSERT INTO %s SELECT i, 'c' || i %% 100, '%s', 0 FROM range(%d) AS r(i)", table, bodyText, knownRows)
	if flushed {
		text += "; FLUSH TABLE " + table
	}
	return c.sql(text)
}

func compareWrites(ctx context.Context, c *conn, cs writeCase, table string, flushed bool, length time.Duration, rep *report) error {
	next := int64(knownRows)
	fresh := func() int64 { next++; return next }
	post := func(text string, key int64) error {
		_, err := c.post(fmt.Appendf(nil, `{"sql":%q,"params":[%d,%d]}`, strings.Replace(text, "%s", table, 1), key, key%1000))
		return err
	}
	known := int64(0)
	key := func() int64 { known++; return known * knownStep % knownRows }
	if cs.fresh {
		key = fresh
	}
	ours, base, err := alternate(ctx, length,
		func() error { return post(cs.text, key()) },
		func() error { return post(writeInsert, fresh()) })
	if err != nil {
		return err
	}
	where := ", row buffered"
	if flushed {
		where = ", row in a file"
	}
	rep.ratio(cs.what+where, ours.String(), base.String()+" INSERT", float64(ours)/float64(base), cs.most, true)
	return nil
}

// bulkWrites times one INSERT … SELECT each from a table function, from a table whose
// rows are buffered, and from one whose rows are in files.
func bulkWrites(c *conn, rep *report) error {
	fill := fmt.Sprintf("SELECT i, 'c' || i %% 100, '%s' || i, i FROM range(%d) AS r(i)", bodyText[:40], bulkRows)
	copied := "SELECT id, conversation, body, n FROM app.b0"
	for i, from := range []struct{ what, query, before string }{
		{"range()", fill, ""},
		{"a table, buffered", copied, ""},
		{"a table, in files", copied, "FLUSH TABLE app.b0"},
	} {
		table := fmt.Sprintf("app.b%d", i)
		if err := c.sql("CREATE USER TABLE " + table + " " + writeColumns + "; " + from.before); err != nil {
			return err
		}
		start := time.Now()
		if err := c.sql("INSERT INTO " + table + " " + from.query); err != nil {
			return fmt.Errorf("INSERT … SELECT from %s: %w", from.what, err)
		}
		took := time.Since(start)
		rate := bulkRows / took.Seconds()
		rep.value("INSERT … SELECT from "+from.what, fmt.Sprintf("%.0f rows/s", rate), fmt.Sprintf("%d rows in %s", bulkRows, took.Round(time.Millisecond)),
			fmt.Sprintf("≥ %d rows/s", bulkAsked), rate >= bulkAsked)
	}
	return nil
}
