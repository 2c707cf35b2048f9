package kalamdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"kalamdb/auth"
	"kalamdb/live"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
)

// liveSystemTables are the system tables that have live queries, with the column that
// tells their rows apart and the number that stands for their id in the hub, where no
// stored table has one.
var liveSystemTables = map[string]struct {
	key string
	id  uint64
}{
	"jobs":         {"job_id", math.MaxUint64},
	"live_queries": {"live_id", math.MaxUint64 - 1},
}

// systemLookEvery is how often a live query on a system table looks for changes.
const systemLookEvery = 400 * time.Millisecond

// A systemWatch is a live query on a system table, which has no commits to hear of: it
// looks at the rows again and again and tells what is different. In the hub it is a
// subscription to which nothing ever happens but its end, so it is listed and killed
// like others. Its Seqs are microseconds, which only grow, and no place to resume from.
type systemWatch struct {
	db   *DB
	sub  *live.Subscription
	look func(ctx context.Context) ([]systemRow, error)
	seq  row.Seq
	had  []systemRow // in the order of key
	out  []Event
}

// A systemRow is a row as it is sent.
type systemRow struct {
	key    string
	object []byte
}

// subscribeSystem starts a live query on a system table.
func (db *DB) subscribeSystem(ctx context.Context, s *statement, req SubscribeRequest, plan *query.LivePlan) (*Subscription, error) {
	rel, err := db.systemRelation(s.req.As, plan.Namespace, plan.Table)
	if err != nil {
		return nil, asError(err).at(plan.Pos)
	}
	table, ok := liveSystemTables[plan.Table]
	switch {
	case !ok || plan.Namespace != systemNS:
		return nil, fail(CodeNotSupportedYet, "live queries on %s.%s are not supported yet; system.jobs and system.live_queries have them", plan.Namespace, plan.Table).at(plan.Pos)
	case s.req.As.Role < auth.DBA:
		return nil, fail(CodeForbidden, "live queries on %s.%s need the role dba", plan.Namespace, plan.Table).at(plan.Pos)
	case req.CheckpointEvery > 0 || req.Coalesce || req.IncludeExpired:
		return nil, fail(CodeInvalidRequest, "checkpoint_ms, coalesce and include_expired are for live queries on stored tables")
	case req.FromSeq != nil:
		return nil, fail(CodeCursorExpired, "the changes of system tables are not kept").details("subscribe again with last_rows to get a new snapshot")
	}
	columns, text, err := systemSelect(rel.Schema, plan, table.key)
	if err != nil {
		return nil, err
	}
	p, err := db.engine.Plan(text)
	if err != nil {
		return nil, err
	}
	id := req.ConnectionID + "-" + req.QueryID
	sub, err := db.hub.Subscribe(live.Spec{
		ID: id, ConnectionID: req.ConnectionID, QueryID: req.QueryID, Options: liveOptions(req), User: string(req.As.User), Role: req.As.Role,
		Selection: &live.Selection{Query: req.SQL, Shape: &live.Shape{Schema: rel.Schema},
			Partition: row.Partition{Table: row.TableRef{Namespace: systemNS, Name: plan.Table, ID: table.id}}},
	})
	if err != nil {
		return nil, err
	}
	w := &systemWatch{db: db, sub: sub, seq: row.Seq(time.Now().UnixMicro())}
	w.look = func(ctx context.Context) ([]systemRow, error) { return db.lookAtSystem(ctx, s, plan, p, columns) }
	sub.Start(w.seq)
	if w.had, err = w.look(ctx); err != nil {
		sub.Close()
		return nil, err
	}
	out := &Subscription{ID: id, Columns: columns, Seq: w.seq, db: db, sub: sub, batchRows: req.BatchRows, sendInitial: req.LastRows > 0, system: w}
	for _, r := range w.had[max(0, len(w.had)-req.LastRows):] {
		out.initial = append(out.initial, r.object)
	}
	return out, nil
}

// systemSelect is the text that reads the key and the columns of a live query.
func systemSelect(schema *row.Schema, plan *query.LivePlan, key string) ([]Column, string, error) {
	names, aliases := plan.Columns, plan.Aliases
	if names == nil {
		for _, c := range schema.Columns {
			names = append(names, c.Name)
		}
		aliases = names
	}
	var columns []Column
	text := fmt.Sprintf("SELECT %s.%s", sql.QuoteIdent(plan.Alias), key)
	for i, name := range names {
		j := slices.IndexFunc(schema.Columns, func(c row.Column) bool { return c.Name == name })
		if j < 0 {
			return nil, "", fail(CodeColumnNotFound, "%s.%s has no column %s", plan.Namespace, plan.Table, name)
		}
		columns = append(columns, Column{Name: aliases[i], Type: schema.Columns[j].Type.String()})
		text += fmt.Sprintf(", %s.%s AS c%d", sql.QuoteIdent(plan.Alias), sql.QuoteIdent(name), i)
	}
	return columns, text + " FROM " + plan.From, nil
}

// lookAtSystem are the rows of a live query now, in the order of key.
func (db *DB) lookAtSystem(ctx context.Context, s *statement, plan *query.LivePlan, p *query.Plan, columns []Column) ([]systemRow, error) {
	rel, err := db.systemRelation(s.req.As, plan.Namespace, plan.Table)
	if err != nil {
		return nil, err
	}
	res, err := db.engine.Query(ctx, p, []*query.Relation{rel}, nil, db.session(s))
	if err != nil {
		return nil, err
	}
	defer res.Close()
	var rows []systemRow
	for res.Next() {
		values := res.Values()
		rows = append(rows, systemRow{values[0].Str(), appendObject(nil, columns, values[1:])})
	}
	slices.SortFunc(rows, func(a, b systemRow) int { return strings.Compare(a.key, b.key) })
	return rows, res.Err()
}

// next waits for a change and looks every now and then whether there is one.
func (w *systemWatch) next(ctx context.Context) (Event, error) {
	for len(w.out) == 0 {
		wait, cancel := context.WithTimeout(ctx, systemLookEvery)
		_, err := w.sub.Next(wait)
		cancel()
		if ended := (*live.EndedError)(nil); errors.As(err, &ended) {
			return Event{}, &Ended{Reason: ended.Reason, Seq: w.seq}
		}
		if ctx.Err() != nil {
			return Event{}, ctx.Err()
		}
		rows, err := w.look(ctx)
		if err != nil {
			return Event{}, asError(err)
		}
		w.compare(rows)
	}
	e := w.out[0]
	w.out = w.out[1:]
	return e, nil
}

// compare makes events of what is different from before.
func (w *systemWatch) compare(rows []systemRow) {
	had := w.had
	w.had = rows
	for len(had) > 0 || len(rows) > 0 {
		order := -1 // the next one that was is no more
		switch {
		case len(had) == 0:
			order = 1
		case len(rows) > 0:
			order = strings.Compare(had[0].key, rows[0].key)
		}
		switch {
		case order < 0:
			object := slices.Clone(had[0].object)
			w.add(Event{Change: row.Delete.String(), Rows: [][]byte{append(object[:len(object)-1], `,"_deleted":true}`...)}})
			had = had[1:]
		case order > 0:
			w.add(Event{Change: row.Insert.String(), Rows: [][]byte{rows[0].object}})
			rows = rows[1:]
		default:
			if !bytes.Equal(had[0].object, rows[0].object) {
				w.add(Event{Change: row.Update.String(), Rows: [][]byte{rows[0].object}, Old: [][]byte{had[0].object}})
			}
			had, rows = had[1:], rows[1:]
		}
	}
}

func (w *systemWatch) add(e Event) {
	w.seq = max(w.seq+1, row.Seq(time.Now().UnixMicro()))
	e.Seq, e.TxnLast = w.seq, true
	w.out = append(w.out, e)
}
