package server

import (
	"context"

	"kalamdb"
)

// embedded is *kalamdb.DB as a Database.
type embedded struct{ *kalamdb.DB }

func (e embedded) Query(ctx context.Context, r kalamdb.Request) (Rows, error) {
	rows, err := e.DB.Query(ctx, r)
	if err != nil {
		return nil, err // not rows: a nil pointer in an interface is not nil
	}
	return rows, nil
}

func (e embedded) Subscribe(ctx context.Context, r kalamdb.SubscribeRequest) (*LiveQuery, error) {
	s, err := e.DB.Subscribe(ctx, r)
	if err != nil {
		return nil, err
	}
	return &LiveQuery{ID: s.ID, Columns: s.Columns, Seq: s.Seq, Epoch: s.Epoch, Resumed: s.Resumed, Next: s.Next, Close: s.Close, Push: s}, nil
}
