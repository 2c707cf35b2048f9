package kalamdb

import (
	"context"
	"sync"

	"kalamdb/query"
)

// initialRows are the rows of the snapshot of a subscription, in the order they are sent.
// They are a result of DuckDB and become JSON a page at a time, when the client takes the
// page: until then their memory is DuckDB's, in pieces that are freed as they are sent, and
// counts with the answers that other clients are reading.
type initialRows struct {
	columns []Column

	// mu guards the fields below it: Close may come while Next reads.
	mu   sync.Mutex
	res  *query.Rows // nil: all rows are read, or the subscription is closed
	more bool        // res is at a row that was not given away
}

func newInitialRows(columns []Column, res *query.Rows) (*initialRows, error) {
	i := &initialRows{columns: columns, res: res}
	err := i.forward()
	return i, err
}

// forward goes to the next row; at the end it gives the result back. mu is held.
func (i *initialRows) forward() error {
	if i.more = i.res.Next(); i.more {
		return nil
	}
	err := i.res.Err()
	i.res.Close()
	i.res = nil
	return err
}

// page are the next rows, at most max, as JSON objects, and whether others follow.
func (i *initialRows) page(max int) (rows [][]byte, more bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []byte
	for i.more && len(rows) < max {
		start := len(all)
		all = appendObject(all, i.columns, i.res.Values()[snapshotColumns:])
		rows = append(rows, all[start:len(all):len(all)])
		if err := i.forward(); err != nil {
			return nil, false, err
		}
	}
	return rows, i.more, nil
}

func (i *initialRows) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.more = false; i.res != nil {
		i.res.Close()
		i.res = nil
	}
}

// snapshot reads the newest rows of the query's result, to be sent the oldest of them first.
func (s *Subscription) snapshot(ctx context.Context, st *statement, req SubscribeRequest, plan *query.LivePlan, rel *query.Relation) error {
	res, err := s.result(ctx, st, plan, rel, req.LastRows)
	if err != nil {
		return err
	}
	s.sendInitial = true
	s.stored, err = newInitialRows(s.Columns, res)
	return err
}

// nextInitial is the next page of initial rows.
func (s *Subscription) nextInitial() (Event, error) {
	ev := Event{Initial: true, Seq: s.Seq}
	if s.stored != nil {
		var err error
		if ev.Rows, ev.HasMore, err = s.stored.page(s.batchRows); err != nil {
			return Event{}, s.db.failed(err, 0)
		}
	} else {
		n := min(len(s.initial), s.batchRows)
		ev.Rows, s.initial = s.initial[:n], s.initial[n:]
		ev.HasMore = len(s.initial) > 0
	}
	s.sendInitial = ev.HasMore
	return ev, nil
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.sub.Close()
	if s.stored != nil {
		s.stored.close()
	}
}
