package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/live"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

const (
	batchRowsDefault = 1_000
	batchRowsMax     = 10_000
	lastRowsMax      = 1_000_000
	liveTextBytesMax = 64 << 10
)

// A Subscription is one live query. Next is for one goroutine at a time; Close may
// be called from another one.
type Subscription struct {
	ID      string // of system.live_queries: <connection id>-<query id>
	Columns []Column
	Seq     row.Seq // the snapshot the subscription starts from
	Epoch   string  // of Seq and those that follow; a cursor is both, see SubscribeRequest
	Resumed bool    // it continues from FromSeq

	db          *DB
	sub         *live.Subscription
	stored      *initialRows // of the snapshot; nil: none, or initial has them
	initial     [][]byte     // rows that are not delivered yet
	sendInitial bool         // at least one Initial event is due
	batchRows   int

	// Most subscriptions have none of these. One that has is to be read with Next.
	prover    *prover
	coalescer *coalescer
	system    *systemWatch
}

// Subscribe starts a live query. The subscription is registered before the
// snapshot is taken, and drops what the snapshot has: so there is no gap and no
// repeat between the two.
func (db *DB) Subscribe(ctx context.Context, req SubscribeRequest) (*Subscription, error) {
	if !db.calls.enter() {
		return nil, errClosed()
	}
	defer db.calls.leave()
	if db.readOnly {
		return nil, db.failed(readOnlyError("a live query"), 0)
	}
	s, err := db.subscribe(ctx, req)
	for try := 1; errors.Is(err, ingest.ErrAltered) && try < commitTriesMax; try++ {
		s, err = db.subscribe(ctx, req)
	}
	if err != nil {
		return nil, db.failed(err, 0)
	}
	return s, nil
}

func (db *DB) subscribe(ctx context.Context, req SubscribeRequest) (_ *Subscription, err error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	plan, err := db.engine.PlanLive(req.SQL)
	if err != nil {
		return nil, err
	}
	s := &statement{namespace: req.Namespace, req: &Request{As: req.As}, now: time.Now()}
	if s.namespace == "" {
		s.namespace = catalog.DefaultName
	}
	if plan.Namespace == systemNS || plan.Namespace == infoSchemaNS {
		return db.subscribeSystem(ctx, s, req, plan)
	}
	t, err := db.table(s, sql.Name{Namespace: plan.Namespace, Name: plan.Table, Pos: plan.Pos})
	if err != nil {
		return nil, err
	}
	if req.IncludeExpired && t.Type != catalog.Stream {
		return nil, fail(CodeInvalidRequest, "include_expired is for STREAM tables: rows of %s do not end by themselves", t.Ref)
	}
	spec, columns, err := db.liveSpec(s, req, plan, t)
	if err != nil {
		return nil, err
	}
	sub, err := db.hub.Subscribe(spec)
	if err != nil {
		return nil, err
	}
	out := &Subscription{ID: spec.ID, Columns: columns, db: db, sub: sub, batchRows: req.BatchRows}
	defer func() {
		if err != nil {
			out.Close()
		}
	}()
	sources := tableSources{db: db}
	defer sources.release()
	sources.open()
	switch now, err := db.readable(req.As, t.Ref.Namespace, t.Ref.Name); {
	case err != nil || now.Ref != t.Ref:
		return nil, fail(CodeTableNotFound, "table %s was dropped", t.Ref)
	case now.Schema().Version != t.Schema().Version, now.Rules.Version != t.Rules.Version:
		return nil, ingest.ErrAltered // the columns and the policies are those of before
	}
	rel, snap, err := sources.stored(ctx, t, spec.Partition)
	if err != nil {
		return nil, err
	}
	rules := db.rulesOf(s, t)
	if rel.Guard, err = rules.guard(); err != nil {
		return nil, err
	}
	out.Seq, out.Epoch = snap.Seq(), fmt.Sprintf("%s%c%x", db.buffer.Reign(), epochSeparator, t.Ref.ID)
	if req.Coalesce {
		out.coalescer = &coalescer{sub: sub, schema: spec.Schema, rows: req.BatchRows}
	}
	if req.CheckpointEvery > 0 {
		if err := out.prove(ctx, s, req, t, plan, rel); err != nil {
			return nil, err
		}
	}
	if req.FromSeq != nil {
		if err := refuseOldRules(t, *req.FromSeq); err != nil {
			return nil, err
		}
		return out, out.resume(ctx, req)
	}
	if req.LastRows > 0 && req.IncludeExpired {
		if err := out.events(ctx, spec, snap, req.LastRows); err != nil {
			return nil, err
		}
	} else if req.LastRows > 0 {
		if err := out.snapshot(ctx, s, req, plan, rel); err != nil {
			return nil, err
		}
	}
	// A replay of nothing: should the queue overflow before the client has read its
	// snapshot, the hub goes on from the change log.
	return out, sub.Replay(ctx, db.buffer, out.Seq, out.Seq)
}

func (req *SubscribeRequest) check() error {
	if req.BatchRows == 0 {
		req.BatchRows = batchRowsDefault
	}
	switch {
	case req.As.User == "":
		return fail(CodeUnauthenticated, "the request says not who asks")
	case req.QueryID == "":
		return fail(CodeInvalidRequest, "query_id is empty")
	case len(req.SQL) > liveTextBytesMax:
		return fail(CodeTooLarge, "the text of a live query has %d bytes, the limit is %d", len(req.SQL), liveTextBytesMax)
	case req.LastRows < 0 || req.LastRows > lastRowsMax:
		return fail(CodeInvalidRequest, "last_rows is %d, expected 0 to %d", req.LastRows, lastRowsMax)
	case req.BatchRows < 1 || req.BatchRows > batchRowsMax:
		return fail(CodeInvalidRequest, "batch_rows is %d, expected 1 to %d", req.BatchRows, batchRowsMax)
	case req.CheckpointEvery != 0 && (req.CheckpointEvery < checkpointMin || req.CheckpointEvery > checkpointMax):
		return fail(CodeInvalidRequest, "checkpoint_ms is %d, expected %d to %d", req.CheckpointEvery.Milliseconds(), checkpointMin.Milliseconds(), checkpointMax.Milliseconds())
	case req.Epoch != "" && req.FromSeq == nil:
		return fail(CodeInvalidRequest, "epoch is given without from_seq: it says of which history that is")
	case req.IncludeExpired && req.Coalesce:
		return fail(CodeInvalidRequest, "include_expired and coalesce exclude each other")
	case req.IncludeExpired && req.FromSeq != nil:
		return fail(CodeCursorExpired, "with include_expired there is no from_seq: which events went meanwhile is not known any more").details("subscribe again with last_rows to get a new snapshot")
	case req.FromSeq != nil && req.LastRows > 0:
		return fail(CodeInvalidRequest, "from_seq and last_rows exclude each other: the client has the rows, or it wants them")
	}
	return nil
}

// liveSpec says to the hub which changes the subscription wants and in what shape.
func (db *DB) liveSpec(s *statement, req SubscribeRequest, plan *query.LivePlan, t *catalog.Table) (live.Spec, []Column, error) {
	rules := db.rulesOf(s, t)
	sel := &live.Selection{
		Key: liveKey(req, s.namespace, t, rules != nil), Partition: s.partition(t), Shape: &live.Shape{Schema: t.Schema(), SchemaAt: db.schemaAt(t)}, BatchRows: req.BatchRows, Expired: req.IncludeExpired,
	}
	sel.Query = sel.Key[:len(req.SQL)]
	id := req.ConnectionID + "-" + req.QueryID
	spec := live.Spec{
		ID: id, ConnectionID: id[:len(req.ConnectionID)], QueryID: id[len(req.ConnectionID)+1:],
		Options: liveOptions(req), User: string(req.As.User), Role: req.As.Role, Selection: sel,
	}
	names, aliases := plan.Columns, plan.Aliases
	if names == nil {
		for _, c := range sel.Schema.Columns {
			if !rules.hides(c.Name) {
				names = append(names, c.Name)
			}
		}
		if t.Versioned() {
			names = append(names, row.ColUpdated, row.ColDeleted)
		}
		aliases = names
	}
	columns := make([]Column, 0, len(names))
	for i, name := range names {
		index, typ, err := liveColumn(t, name)
		if err == nil && rules.hides(name) {
			err = fail(CodeColumnNotFound, "column %s does not exist in %s", name, t.Ref)
		}
		if err != nil {
			return live.Spec{}, nil, err
		}
		sel.Columns = append(sel.Columns, index)
		sel.Names = append(sel.Names, aliases[i])
		columns = append(columns, Column{Name: aliases[i], Type: typ})
	}
	if running := db.hub.Selection(sel.Partition, sel.Key); running != nil {
		spec.Selection = running // with its filter, which takes time and memory to make
		return spec, columns, nil
	}
	for i, c := range sel.Schema.Columns {
		if slices.Contains(sel.Columns, i) || slices.Contains(plan.Uses, c.Name) || rules.uses(c.Name) {
			sel.Uses = append(sel.Uses, c.ID)
		}
	}
	if rules != nil {
		return spec, columns, rules.filter(sel, plan, db.session(s))
	}
	filter, err := db.engine.Filter(plan, sel.Schema, t.Versioned(), db.session(s))
	if err != nil {
		return live.Spec{}, nil, err
	}
	if filter != nil {
		sel.Filter, sel.Deleted = filter, slices.Contains(plan.Uses, row.ColDeleted)
		for _, e := range filter.Equalities() {
			sel.Equal = append(sel.Equal, live.Equality{Column: e.Column, Values: e.Values})
		}
	}
	return spec, columns, nil
}

// liveKey is the same for live queries of a partition that see the same: those of one
// text, and of one user and role too if the text or the policies of the table may ask for
// them.
func liveKey(req SubscribeRequest, namespace string, t *catalog.Table, ruled bool) string {
	key := fmt.Sprintf("%s\x00%s\x00%d\x00%d\x00%d\x00%t", req.SQL, namespace, t.Schema().Version, t.Rules.Version, req.BatchRows, req.IncludeExpired)
	if text := strings.ToLower(req.SQL); ruled || strings.Contains(text, "user") || strings.Contains(text, "role") {
		key += fmt.Sprintf("\x00%s\x00%s", req.As.User, req.As.Role)
	}
	return key
}

// liveOptions are the options as system.live_queries shows them.
func liveOptions(req SubscribeRequest) string {
	b := fmt.Appendf(nil, `{"batch_rows":%d`, req.BatchRows)
	if req.CheckpointEvery > 0 {
		b = fmt.Appendf(b, `,"checkpoint_ms":%d`, req.CheckpointEvery.Milliseconds())
	}
	if req.Coalesce {
		b = append(b, `,"coalesce":true`...)
	}
	if req.IncludeExpired {
		b = append(b, `,"include_expired":true`...)
	}
	if req.FromSeq != nil {
		b = fmt.Appendf(b, `,"from_seq":%d`, *req.FromSeq)
	}
	return string(fmt.Appendf(b, `,"last_rows":%d}`, req.LastRows))
}

// liveColumn is the position of a column in a live projection, and its type.
func liveColumn(t *catalog.Table, name string) (int, string, error) {
	if t.Versioned() {
		switch name {
		case row.ColSeq:
			return live.ColSeq, "BIGINT", nil
		case row.ColUpdated:
			return live.ColUpdated, "TIMESTAMP", nil
		case row.ColDeleted:
			return live.ColDeleted, "BOOLEAN", nil
		}
	}
	j, err := columnOf(t, name, -1)
	if err != nil {
		return 0, "", err
	}
	return j, t.Schema().Columns[j].Type.String(), nil
}

// epochSeparator is between the reign of the server and the table in an epoch: a table that
// was dropped and created again has another history.
const epochSeparator = '-'

// resume has the hub replay the change log up to the snapshot.
func (s *Subscription) resume(ctx context.Context, req SubscribeRequest) error {
	from := *req.FromSeq
	reign, table, of := strings.Cut(req.Epoch, string(epochSeparator))
	if _, mine, _ := strings.Cut(s.Epoch, string(epochSeparator)); of && table != mine {
		return &ingest.ForeignError{After: from, Newest: s.Seq}
	}
	if err := s.db.buffer.CheckCursor(reign, from); err != nil {
		return err
	}
	s.Resumed = true
	return s.sub.Replay(ctx, s.db.buffer, from, max(from, s.Seq))
}

// snapshotColumns is where the columns of the subscription begin in a row of result.
const snapshotColumns = 2

// result is the query's result: all of it in no order, or with last > 0 so many of the
// newest rows, oldest first.
func (s *Subscription) result(ctx context.Context, st *statement, plan *query.LivePlan, rel *query.Relation, last int) (*query.Rows, error) {
	rel.System = true // _seq gives the order, also of events, which do not show it
	alias := sql.QuoteIdent(plan.Alias)
	names := plan.Columns
	if names == nil {
		for _, c := range s.Columns {
			names = append(names, c.Name)
		}
	}
	var b strings.Builder
	// Naming _deleted shows deleted rows too, which are no part of the result.
	fmt.Fprintf(&b, "SELECT * FROM (SELECT %[1]s.%[2]s, %[1]s.%[3]s", alias, row.ColSeq, row.ColDeleted)
	for i, n := range names {
		fmt.Fprintf(&b, ", %s.%s AS c%d", alias, sql.QuoteIdent(n), i)
	}
	fmt.Fprintf(&b, " FROM %s) AS kalamdb_rows WHERE NOT %s", plan.From, row.ColDeleted)
	text := b.String()
	if last > 0 {
		text = fmt.Sprintf("SELECT * FROM (%s ORDER BY 1 DESC LIMIT %d) AS kalamdb_newest ORDER BY 1", text, last)
	}
	p, err := s.db.engine.Plan(text)
	if err != nil {
		return nil, err
	}
	return s.db.engine.Query(ctx, p, []*query.Relation{rel}, nil, s.db.session(st))
}

// read reads the query's whole result as JSON objects.
func (s *Subscription) read(ctx context.Context, st *statement, plan *query.LivePlan, rel *query.Relation, yield func(object []byte) error) error {
	res, err := s.result(ctx, st, plan, rel, 0)
	if err != nil {
		return err
	}
	defer res.Close()
	for res.Next() {
		if err := yield(appendObject(nil, s.Columns, res.Values()[snapshotColumns:])); err != nil {
			return err
		}
	}
	return res.Err()
}

// appendObject appends a JSON object of one row.
func appendObject(dst []byte, columns []Column, values []row.Value) []byte {
	dst = append(dst, '{')
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(row.AppendJSONString(dst, c.Name), ':')
		dst = values[i].AppendJSON(dst)
	}
	return append(dst, '}')
}

// Next waits for the next event. Its error is *[Ended] once the subscription is
// over, an *[Error] for a fault, or the context's.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	if s.sendInitial {
		return s.nextInitial()
	}
	if s.prover != nil {
		return s.prover.next(ctx, s.nextChange, s.caughtUp)
	}
	return s.nextChange(ctx)
}

func (s *Subscription) nextChange(ctx context.Context) (Event, error) {
	switch {
	case s.system != nil:
		return s.system.next(ctx)
	case s.coalescer != nil:
		return s.event(s.coalescer.next(ctx))
	}
	return s.event(s.sub.Next(ctx))
}

// caughtUp says that nothing of before the subscription is still to be delivered.
func (s *Subscription) caughtUp() bool {
	return s.sub.Live() && (s.coalescer == nil || len(s.coalescer.waiting)+len(s.coalescer.ready) == 0)
}

// nextOnly says that Next has to be called: there is work to do with each event, or a
// time to be kept.
func (s *Subscription) nextOnly() bool {
	return s.prover != nil || s.coalescer != nil || s.system != nil
}

// ErrBehind is the error of Poll while the next event takes reading of what was: call
// Next until Live.
var ErrBehind = live.ErrBehind

// Poll is Next that does not wait: ok is false if there is no event now.
func (s *Subscription) Poll() (ev Event, ok bool, err error) {
	if s.sendInitial || s.nextOnly() {
		return Event{}, false, ErrBehind
	}
	e, err := s.sub.Poll()
	if e == nil && err == nil {
		return Event{}, false, nil
	}
	ev, err = s.event(e, err)
	return ev, err == nil, err
}

// Live says whether the subscription has delivered what was there before, so that Poll
// gives what comes.
func (s *Subscription) Live() bool { return !s.sendInitial && !s.nextOnly() && s.sub.Live() }

// Notify has ready called when Poll has something to tell: now, and again each time
// something comes after Poll has said that there is nothing. ready is called on the path
// of commits: it must not block, and not call the subscription.
func (s *Subscription) Notify(ready func()) { s.sub.Notify(ready) }

// event is an event of the hub for the subscriber.
func (s *Subscription) event(e *live.Event, err error) (Event, error) {
	if err != nil {
		var ended *live.EndedError
		if !errors.As(err, &ended) {
			return Event{}, err
		}
		if ended.Cause != nil {
			s.db.log.Warn("live query ended", "id", s.ID, "reason", ended.Reason, "err", ended.Cause)
		}
		if ended.Reason == live.ReasonError {
			return Event{}, asError(ended.Cause)
		}
		return Event{}, &Ended{Reason: ended.Reason, Seq: ended.Seq}
	}
	ev := Event{Change: e.Op.String(), Seq: e.Seq, TxnLast: e.TxnLast}
	ev.Rows, ev.Old = s.sub.Encoded(e)
	if s.prover != nil && e.Op == row.Delete {
		for _, r := range e.Gone {
			ev.was = append(ev.was, s.sub.AppendRow(nil, r))
		}
	}
	switch {
	case e.LeftFilter:
		ev.Reason = "left_filter"
	case e.Expired:
		ev.Reason = "expired"
	}
	return ev, nil
}

// killLiveQuery ends a live query: one's own, or anyone's for operators.
func (db *DB) killLiveQuery(s *statement, st *sql.KillLiveQuery) error {
	q, found := db.hub.Find(st.ID)
	if !found || s.req.As.Role < auth.DBA && q.User != string(s.req.As.User) || !db.hub.Kill(st.ID) {
		return fail(CodeNotFound, "no live query %s", st.ID).details("system.live_queries lists them")
	}
	return nil
}
