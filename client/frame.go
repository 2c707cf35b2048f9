package client

import (
	"encoding/json"
	"fmt"
)

// A frame is what the server sends over a WebSocket. Its rows are left as they came
// until it is known what they are wanted as.
type frame struct {
	errorFields
	Type           string            `json:"type"`
	QueryID        string            `json:"query_id"`
	SubscriptionID string            `json:"subscription_id"`
	Columns        []Column          `json:"columns"`
	Resumed        bool              `json:"resumed"`
	Epoch          string            `json:"epoch"`
	Rows           []json.RawMessage `json:"rows"`
	HasMore        bool              `json:"has_more"`
	ChangeType     string            `json:"change_type"`
	OldValues      []json.RawMessage `json:"old_values"`
	TxnLast        *bool             `json:"txn_last"` // nil: the change is a commit of its own
	Seq            uint64            `json:"seq"`
	RowCount       int64             `json:"row_count"`
	Hash           string            `json:"hash"`
	Reason         string            `json:"reason"`
	raw            []byte
}

func parseFrame(text []byte) (*frame, error) {
	f := &frame{raw: text}
	if err := decode(text, f); err != nil {
		return nil, fmt.Errorf("read frame of the server: %w", err)
	}
	return f, nil
}

// incomplete says that more changes of the same transaction follow.
func (f *frame) incomplete() bool { return f.TxnLast != nil && !*f.TxnLast }

func (f *frame) event() (Event, error) {
	rows, err := decodeRows[Row](f.Rows)
	if err != nil {
		return Event{}, err
	}
	old, err := decodeRows[Row](f.OldValues)
	if err != nil {
		return Event{}, err
	}
	e := Event{Type: f.Type, QueryID: f.QueryID, SubscriptionID: f.SubscriptionID, Columns: f.Columns, Resumed: f.Resumed, Epoch: f.Epoch, Rows: rows,
		HasMore: f.HasMore, ChangeType: f.ChangeType, OldValues: old, Incomplete: f.incomplete(), Seq: f.Seq, RowCount: f.RowCount, Hash: f.Hash,
		Reason: f.Reason, Raw: f.raw}
	if f.Type == TypeError {
		e.Err = f.err()
	}
	return e, nil
}
