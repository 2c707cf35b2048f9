package server

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"kalamdb"
	"kalamdb/row"
	"kalamdb/sql"
)

// What clients send.
const (
	frameSubscribe   = "subscribe"
	frameUnsubscribe = "unsubscribe"
	framePing        = "ping"
	frameAuth        = "auth"
)

// frameTypes are the fields of each type of frame beside "type".
var frameTypes = map[string][]string{
	frameSubscribe:   {"type", "subscriptions"},
	frameUnsubscribe: {"type", "query_id"},
	framePing:        {"type"},
	frameAuth:        {"type", "token"},
}

var (
	frameTypeNames     = []string{frameSubscribe, frameUnsubscribe, framePing, frameAuth}
	subscriptionFields = []string{"query_id", "sql", "options"}
	optionFields       = []string{"last_rows", "from_seq", "batch_rows", "epoch", "coalesce", "checkpoint_ms", "include_expired"}
	optionMax          = map[string]int64{"last_rows": lastRowsMax, "from_seq": int64(row.SeqMax) - 1, "batch_rows": batchRowsMax, "checkpoint_ms": checkpointMsMax} // of those that are numbers
)

const (
	queryIDBytesMax = 128
	subscribesMax   = 1000 // subscriptions in one frame
	lastRowsMax     = 1_000_000
	batchRowsMax    = 10_000
	checkpointMsMax = 3_600_000
)

// A clientFrame is one frame of a client, checked.
type clientFrame struct {
	kind          string
	queryID       string // unsubscribe
	token         string // auth
	subscriptions []subscribeSpec
}

// A subscribeSpec is one element of "subscriptions". err is what is wrong with it;
// the others of the frame are not to suffer.
type subscribeSpec struct {
	queryID string
	request kalamdb.SubscribeRequest
	err     error
}

// parseFrame reads one frame. The result shares no memory with b.
func parseFrame(b []byte) (clientFrame, error) {
	var f clientFrame
	kind, err := frameType(b)
	if err != nil {
		return f, err
	}
	f.kind = kind
	r, err := newReader(b, "frame")
	if err != nil {
		return f, err
	}
	fields := frameTypes[kind]
	given := map[string]bool{}
	err = r.object("the "+kind+" frame", fields, func(i int) (err error) {
		given[fields[i]] = true
		switch fields[i] {
		case "type":
			_, err = r.raw()
		case "query_id":
			f.queryID, err = r.str("query_id")
		case "token":
			f.token, err = r.str("token")
		case "subscriptions":
			err = r.array("subscriptions", func() error {
				if len(f.subscriptions) == subscribesMax {
					return fail(codeLimitExceeded, fmt.Sprintf("more than %d subscriptions in one frame", subscribesMax))
				}
				spec, err := r.subscription()
				f.subscriptions = append(f.subscriptions, spec)
				return err
			})
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return clientFrame{queryID: f.queryID}, err
	}
	for _, name := range fields {
		if !given[name] {
			return clientFrame{}, invalidAt(-1, "the field %q is missing in the %s frame", name, kind)
		}
	}
	return f, nil
}

// frameType finds the type of a frame, which need not come first, and checks
// that the frame is JSON.
func frameType(b []byte) (string, error) {
	r, err := newReader(b, "frame")
	if err != nil {
		return "", err
	}
	if r.peek() != '{' {
		return "", r.wrongType("the frame", "an object")
	}
	kind, found := "", false
	err = r.members(func(key string, _ int) (err error) {
		if key != "type" || found {
			_, err = r.raw()
			return err
		}
		found = true
		kind, err = r.str("type")
		return err
	})
	if err == nil {
		err = r.end()
	}
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", invalidAt(-1, `the field "type" is missing in the frame`)
	case frameTypes[kind] == nil:
		e := invalidAt(-1, "unknown frame type %q", clip(kind))
		e.Details = "the types are " + strings.Join(frameTypeNames, ", ")
		if near, ok := sql.Nearest(strings.ToLower(clip(kind)), frameTypeNames); ok {
			e.Details = "did you mean " + near + "?"
		}
		return "", e
	}
	return kind, nil
}

// clip shortens what a client sent for a message about it.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

// subscription reads one element of "subscriptions". Its error is for JSON that is
// broken; what is wrong with this subscription alone is in the result.
func (r *reader) subscription() (subscribeSpec, error) {
	var spec subscribeSpec
	start := *r
	raw, err := r.raw()
	if err != nil {
		return spec, err
	}
	own := start
	own.b = start.b[:start.i+len(raw)]
	spec.err = own.readSubscription(&spec)
	return spec, nil
}

func (r *reader) readSubscription(spec *subscribeSpec) error {
	q := &spec.request
	err := r.object("the subscription", subscriptionFields, func(field int) (err error) {
		switch subscriptionFields[field] {
		case "query_id":
			spec.queryID, err = r.str("query_id")
		case "sql":
			q.SQL, err = r.str("sql")
		case "options":
			if !r.null() {
				err = r.options(q)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	q.QueryID = spec.queryID
	err = checkSubscription(q)
	spec.queryID = q.QueryID
	return err
}

// checkSubscription says what is wrong with the fields of a subscription. An id that is
// wrong is taken away: no frame could name it.
func checkSubscription(q *kalamdb.SubscribeRequest) error {
	switch {
	case q.QueryID == "":
		return invalidAt(-1, `the field "query_id" is missing or empty in the subscription`)
	case len(q.QueryID) > queryIDBytesMax || strings.ContainsFunc(q.QueryID, func(c rune) bool { return !unicode.IsPrint(c) }):
		long := q.QueryID
		q.QueryID = ""
		return invalidAt(-1, "query_id %q is not 1 to %d printable bytes", clip(long), queryIDBytesMax)
	case q.SQL == "":
		return invalidAt(-1, `the field "sql" is missing or empty in the subscription`)
	case len(q.SQL) > sqlBytesMax:
		return fail(kalamdb.CodeTooLarge, fmt.Sprintf("the SQL text has %d bytes, the limit is %d", len(q.SQL), sqlBytesMax))
	}
	return nil
}

func (r *reader) options(q *kalamdb.SubscribeRequest) error {
	return r.object("options", optionFields, func(field int) error {
		if r.null() {
			return nil
		}
		name := optionFields[field]
		var err error
		switch name {
		case "epoch":
			q.Epoch, err = r.str(name)
			return err
		case "coalesce":
			q.Coalesce, err = r.boolean(name)
			return err
		case "include_expired":
			q.IncludeExpired, err = r.boolean(name)
			return err
		}
		n, err := r.integer(name, optionMax[name])
		setOption(q, name, n)
		return err
	})
}

// setOption sets an option that is a number.
func setOption(q *kalamdb.SubscribeRequest, name string, n int64) {
	switch name {
	case "last_rows":
		q.LastRows = int(n)
	case "batch_rows":
		q.BatchRows = int(n)
	case "checkpoint_ms":
		q.CheckpointEvery = time.Duration(n) * time.Millisecond
	case "from_seq":
		seq := row.Seq(n)
		q.FromSeq = &seq
	}
}

// errorFrame tells the client what went wrong; queryID may be empty.
func errorFrame(queryID string, e *kalamdb.Error) []byte {
	b := append(make([]byte, 0, 256), `{"type":"error",`...)
	if queryID != "" {
		b = append(b, `"query_id":`...)
		b = append(row.AppendJSONString(b, queryID), ',')
	}
	b = appendErrorFields(b, e)
	return append(b, '}')
}

var pongFrame = []byte(`{"type":"pong"}`)

// frameHead begins a frame about a subscription: type, subscription_id, query_id.
func frameHead(kind, id, queryID string, room int) []byte {
	return appendFrameHead(make([]byte, 0, room+len(id)+len(queryID)+144), kind, id, queryID)
}

func appendFrameHead(b []byte, kind, id, queryID string) []byte {
	b = append(b, `{"type":"`...)
	b = append(b, kind...)
	b = append(b, `","subscription_id":`...)
	b = row.AppendJSONString(b, id)
	b = append(b, `,"query_id":`...)
	return row.AppendJSONString(b, queryID)
}

func appendSeq(b []byte, seq row.Seq) []byte {
	b = append(b, `,"seq":`...)
	return strconv.AppendUint(b, uint64(seq), 10)
}

func subscribedFrame(q *LiveQuery, queryID string) []byte {
	b := frameHead("subscribed", q.ID, queryID, 64*len(q.Columns))
	b = append(b, `,"columns":`...)
	b = appendColumns(b, q.Columns)
	b = appendSeq(b, q.Seq)
	if q.Epoch != "" {
		b = append(b, `,"epoch":`...)
		b = row.AppendJSONString(b, q.Epoch)
	}
	b = append(b, `,"resumed":`...)
	b = strconv.AppendBool(b, q.Resumed)
	return append(b, '}')
}

func eventFrame(id, queryID string, e *kalamdb.Event) []byte {
	if e.Checkpoint != nil {
		return checkpointFrame(id, queryID, e)
	}
	room := 0
	for _, r := range e.Rows {
		room += len(r) + 1
	}
	for _, r := range e.Old {
		room += len(r) + 1
	}
	kind := "change"
	if e.Initial {
		kind = "initial_data"
	}
	return appendEvent(frameHead(kind, id, queryID, room), e)
}

// appendEvent ends the frame of an event behind its head.
func appendEvent(b []byte, e *kalamdb.Event) []byte {
	if e.Initial {
		b = appendRows(append(b, `,"rows":`...), e.Rows)
		b = append(b, `,"has_more":`...)
		b = strconv.AppendBool(b, e.HasMore)
		return append(appendSeq(b, e.Seq), '}')
	}
	b = append(b, `,"change_type":`...)
	b = row.AppendJSONString(b, e.Change)
	b = appendRows(append(b, `,"rows":`...), e.Rows)
	if len(e.Old) > 0 {
		b = appendRows(append(b, `,"old_values":`...), e.Old)
	}
	if e.Reason != "" {
		b = append(b, `,"reason":`...)
		b = row.AppendJSONString(b, e.Reason)
	}
	b = append(appendSeq(b, e.Seq), `,"txn_last":`...)
	return append(strconv.AppendBool(b, e.TxnLast), '}')
}

func appendRows(b []byte, rows [][]byte) []byte {
	b = append(b, '[')
	for i, r := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r...)
	}
	return append(b, ']')
}

// endedFrame says why a live query is over; seq is 0 if it delivered nothing.
func endedFrame(id, queryID, reason string, seq row.Seq) []byte {
	b := frameHead("ended", id, queryID, 32)
	b = append(b, `,"reason":`...)
	b = row.AppendJSONString(b, reason)
	if seq > 0 {
		b = appendSeq(b, seq)
	}
	return append(b, '}')
}

// checkpointFrame says what the result is after the changes up to its seq.
func checkpointFrame(id, queryID string, e *kalamdb.Event) []byte {
	b := appendSeq(frameHead("checkpoint", id, queryID, 64), e.Seq)
	b = append(b, `,"row_count":`...)
	b = strconv.AppendInt(b, e.Checkpoint.Rows, 10)
	return fmt.Appendf(b, `,"hash":"%016x"}`, e.Checkpoint.Hash)
}
