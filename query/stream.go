package query

import (
	"context"
	"fmt"
	"sync"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// A Sink takes the rows of one [Engine.Stream]: first the columns, once, then row by
// row. The slice of values is used again, the values are not. An error ends the stream.
type Sink interface {
	Columns([]Column) error
	Row([]row.Value) error
}

// Stream runs p as [Engine.Query] does and hands its rows to sink as DuckDB makes them,
// a few thousand at a time, so that results of any size need little memory. It has no
// limit of rows, bytes or time but ctx's, and holds one of the turns of streams all the
// while. The error is an *Error, ctx's or the sink's.
func (e *Engine) Stream(ctx context.Context, p *Plan, rels []*Relation, params []row.Value, s Session, sink Sink) error {
	st := &stream{ctx: ctx, sink: sink}
	j := job{plan: p, rels: rels, params: params, session: s, each: st.add, failed: func() {}, lane: e.stream}
	res, _, err := e.run(ctx, ctx, &j)
	if err != nil {
		if failure := st.end(); failure != nil {
			return failure
		}
		return err
	}
	err = st.describe(res)
	mapping.DestroyResult(res)
	return err
}

// A stream decodes the pieces of a result for a sink.
type stream struct {
	ctx  context.Context
	sink Sink
	rows Rows // columns and decoders; it keeps no pieces

	mu    sync.Mutex // held while the sink works, so that nothing reaches it after end
	ended bool
	err   error // of the sink
}

// end says that the sink gets nothing more, and what it refused.
func (s *stream) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.err
}

func (s *stream) describe(res *mapping.Result) error {
	if s.rows.values != nil {
		return nil
	}
	s.rows.describe(res)
	return s.sink.Columns(s.rows.columns)
}

// add gives one piece to the sink and frees it.
func (s *stream) add(res *mapping.Result, chunk mapping.DataChunk) error {
	defer mapping.DestroyDataChunk(&chunk)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return context.Canceled
	}
	if s.err = s.describe(res); s.err != nil {
		return s.err
	}
	r := &s.rows
	for i, d := range r.decoders {
		d.open(mapping.DataChunkGetVector(chunk, mapping.IdxT(i)))
	}
	for at := range int(mapping.DataChunkGetSize(chunk)) {
		for i, d := range r.decoders {
			v, err := d.value(at)
			if err != nil {
				s.err = &Error{Code: "NOT_SUPPORTED_YET", Message: fmt.Sprintf("column %s: %v", r.columns[i].Name, err), Pos: -1}
				return s.err
			}
			r.values[i] = v
		}
		if s.err = s.sink.Row(r.values); s.err != nil {
			return s.err
		}
	}
	return s.ctx.Err()
}
