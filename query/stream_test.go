package query

import (
	"context"
	"errors"
	"testing"
	"time"

	"kalamdb/row"
)

// sum adds up the first column.
type sum struct {
	columns []Column
	rows    int
	total   int64
	after   int // rows until it refuses; 0: it never does
}

var errFull = errors.New("full")

func (s *sum) Columns(c []Column) error { s.columns = c; return nil }

func (s *sum) Row(v []row.Value) error {
	s.rows++
	s.total += v[0].Int()
	if s.rows == s.after {
		return errFull
	}
	return nil
}

// A stream has neither the row nor the byte nor the time limit of a result, gives all
// rows and the columns of none, and ends where its sink or its caller says so.
func TestStream(t *testing.T) {
	e, err := Open(Options{ResultRowsMax: 10, ResultBytesMax: 1000, QueryTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	stream := func(ctx context.Context, text string, s *sum) error {
		p, err := e.Plan(text)
		if err != nil {
			t.Fatal(err)
		}
		return e.Stream(ctx, p, nil, nil, Session{Now: time.Now()}, s)
	}
	const n = 3_000_000
	all := &sum{}
	if err := stream(t.Context(), "SELECT i, 'x' AS x FROM range(3000000) r(i)", all); err != nil || all.rows != n || all.total != n*(n-1)/2 {
		t.Errorf("%v, %d rows, sum %d, expected %d rows, sum %d", err, all.rows, all.total, n, n*(n-1)/2)
	}
	none := &sum{}
	if err := stream(t.Context(), "SELECT 1 AS a, 'x' AS b WHERE false", none); err != nil || len(none.columns) != 2 || none.columns[1] != (Column{"b", "VARCHAR"}) {
		t.Errorf("%v, columns %v of no rows", err, none.columns)
	}
	part := &sum{after: 5000}
	if err := stream(t.Context(), "SELECT i FROM range(3000000) r(i)", part); !errors.Is(err, errFull) || part.rows != 5000 {
		t.Errorf("%v after %d rows, expected the sink's error after 5000", err, part.rows)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := stream(ctx, "SELECT i FROM range(3000000) r(i)", &sum{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, expected that it was cancelled", err)
	}
	var refused *Error
	if err := stream(t.Context(), "SELECT CAST('x' AS INT)", &sum{}); !errors.As(err, &refused) || refused.Code != "INVALID_VALUE" {
		t.Errorf("%v, expected INVALID_VALUE", err)
	}
}
