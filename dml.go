package kalamdb

import (
	"context"
	"errors"
	"strings"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/row"
	"kalamdb/sql"
)

// A change is an INSERT, UPDATE or DELETE on its way: what it does follows from the rows
// of one moment, and stands only if these rows are still the newest when it commits.
//
//  1. look says what happens to the rows of a moment, without doing anything.
//  2. RETURNING is evaluated, so that an error in it comes before anything is durable.
//  3. The effect is committed, or laid over the moment of the transaction.
//
// When a row has changed between 1 and 3, all is done again at a new moment.
type change struct {
	db        *DB
	s         *statement
	table     *catalog.Table
	returning *returning // nil if the statement has none
	look      func(ctx context.Context, at *tableSources) (*effect, error)
	rules     *tableRules // that bind the caller, nil if none do
	// reads says that new rows show the caller more than he wrote: he must be allowed to read
	// them. For updated rows that holds anyway.
	reads bool
	// locks says that the change waits for the lock of its partition before any work.
	locks bool
	// again says that a key which somebody else has inserted meanwhile is looked at once
	// more: ON CONFLICT finds it then.
	again bool
}

// An effect is what a change does to its partition.
type effect struct {
	ingest.Write
	// shown are the mutations that count as affected rows; nil means all. An update of a
	// primary key is a delete, which is not shown, and an insert.
	shown []int
	// beside are, by the key of a shown row, the values of the other tables that it met,
	// if RETURNING wants them.
	beside map[string][]row.Value
	// moved is how many of the last mutations are inserts of updated rows, under their new keys.
	moved int
}

// affected is how many rows the effect counts.
func (e *effect) affected() int {
	if e.shown != nil {
		return len(e.shown)
	}
	return len(e.Mutations)
}

// effectOn is the empty effect on the partition of c. Its epoch is from before the caller
// looks at any row.
func (c *change) effectOn() *effect {
	p := c.s.partition(c.table)
	return &effect{Write: ingest.Write{Partition: p, Schema: c.table.Schema(), Epoch: c.db.buffer.Epoch(p)}}
}

// run carries out c.
func (c *change) run(ctx context.Context) (Result, error) {
	if c.s.txn != nil {
		return c.runIn(ctx, c.s.txn)
	}
	p, writers := c.s.partition(c.table), &c.db.writers
	if !c.locks && !(c.again && writers.insisted(p)) {
		res, err := c.once(ctx)
		if !errors.Is(err, ingest.ErrConflict) {
			return res, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.db.statementTimeout) // the wait for the lock included
	defer cancel()
	release, err := writers.lock(ctx, p)
	if err != nil {
		return Result{}, err
	}
	defer release()
	return c.insistent(ctx, p)
}

// insistTries is after how many tries a statement keeps others from changing its rows.
const insistTries = 2

// insistent runs c with the lock of its partition.
func (c *change) insistent(ctx context.Context, p row.Partition) (Result, error) {
	for try := 1; ; try++ {
		res, err := c.once(ctx)
		if !errors.Is(err, ingest.ErrConflict) || try == commitTriesMax {
			return res, err
		}
		if try == insistTries {
			c.db.writers.insist(p)
		}
	}
}

func (c *change) once(ctx context.Context) (Result, error) {
	at, release := c.db.sources(c.s)
	defer release()
	e, err := c.look(ctx, at)
	if err == nil {
		err = c.refuseEffect(ctx, e)
	}
	if err != nil {
		return Result{}, err
	}
	res, err := c.answer(ctx, at, e, pending(c.s.now))
	if err != nil || len(e.Mutations) == 0 {
		return res, err
	}
	done, err := c.db.buffer.Commit(ctx, e.Write)
	var duplicate *ingest.DuplicateError
	if c.again && errors.As(err, &duplicate) {
		err = ingest.ErrConflict
	}
	if err != nil {
		return Result{}, err
	}
	res.Seq = done.Last
	if c.returning != nil && c.returning.committed {
		return c.committed(ctx, at, e, done)
	}
	return res, nil
}

// runIn carries out c inside a transaction.
func (c *change) runIn(ctx context.Context, x *transaction) (Result, error) {
	e, err := c.look(ctx, &x.sources)
	if err == nil {
		err = c.refuseEffect(ctx, e)
	}
	if err != nil {
		return Result{}, err
	}
	res, err := c.answer(ctx, &x.sources, e, pending(x.now))
	if err != nil {
		return Result{}, err
	}
	return res, x.add(ctx, c.table, &e.Write)
}

// answer is the result of c if it is committed as done.
func (c *change) answer(ctx context.Context, at *tableSources, e *effect, done ingest.Commit) (Result, error) {
	res := Result{IsWrite: true, Affected: int64(e.affected())}
	if c.returning == nil {
		return res, nil
	}
	got, err := c.returning.result(ctx, at, e, done)
	res.Columns, res.Rows = got.Columns, got.Rows
	return res, err
}

// committed is the answer with the Seqs and the time of the commit.
func (c *change) committed(ctx context.Context, at *tableSources, e *effect, done ingest.Commit) (Result, error) {
	res, err := c.answer(ctx, at, e, done)
	if err != nil {
		e := *asError(err)
		e.Details = strings.TrimPrefix(e.Details+"; the rows are written, only the answer failed", "; ")
		return Result{}, &e
	}
	res.Seq = done.Last
	return res, nil
}

// refuseTaken refuses an insert whose key a row has. Outside of a transaction that is
// about files only: a buffered row is newer than any flushed one, and ingest decides
// about the keys it knows. A generated key is larger than those of every file, which
// costs one comparison each.
func (c *change) refuseTaken(ctx context.Context, at *tableSources, inserts []ingest.Mutation) error {
	p := c.s.partition(c.table)
	keys := make([][]byte, len(inserts))
	for i := range inserts {
		keys[i] = inserts[i].Key
	}
	if at.txn == nil {
		m := c.db.lake.Manifest(p)
		defer m.Release()
		if len(m.Files) == 0 {
			return nil
		}
		stored, err := c.db.lake.Find(ctx, m, c.table.Schema(), keys)
		if err != nil {
			return err
		}
		keys = keys[:0]
		for key, r := range stored {
			if !r.Deleted {
				keys = append(keys, []byte(key))
			}
		}
	}
	return c.refuseFound(ctx, at, keys)
}

// refuseFound refuses keys that rows have at the moment.
func (c *change) refuseFound(ctx context.Context, at *tableSources, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	p := c.s.partition(c.table)
	found, err := at.find(ctx, c.table, p, keys)
	if err != nil {
		return err
	}
	for key, r := range found {
		if !r.Deleted {
			return &ingest.DuplicateError{Partition: p, Key: []byte(key)}
		}
	}
	return nil
}

// keyOf is the primary key of values.
func (c *change) keyOf(values []row.Value) ([]byte, error) {
	key := c.table.Schema().KeyOf(values)
	if len(key) > keyBytesMax {
		return nil, fail(CodeTooLarge, "a primary key of %d bytes, the limit is %d", len(key), keyBytesMax)
	}
	return key, nil
}

// A rewriting collects what an UPDATE does to rows that keep or change their keys.
type rewriting struct {
	c       *change
	e       *effect
	inserts []ingest.Mutation // of rows with a new key: behind all deletes, as one of these may have it now
	leaving map[string]bool   // the keys that such rows had
}

// delete adds that the row old goes.
func (w *rewriting) delete(old *row.Row) {
	key := w.c.table.Schema().KeyOf(old.Values)
	w.e.Mutations = append(w.e.Mutations, ingest.Mutation{Op: row.Delete, Key: key, Values: old.Values, Old: old})
}

// update adds the row old with its new values.
func (w *rewriting) update(old *row.Row, values []row.Value) error {
	key, err := w.c.keyOf(values)
	if err != nil {
		return err
	}
	m := ingest.Mutation{Op: row.Update, Key: w.c.table.Schema().KeyOf(old.Values), Values: values, Old: old}
	if string(key) != string(m.Key) {
		w.inserts = append(w.inserts, ingest.Mutation{Op: row.Insert, Key: key, Values: values})
		m.Op, m.Values = row.Delete, old.Values
		if w.leaving == nil {
			w.leaving = map[string]bool{}
		}
		w.leaving[string(m.Key)] = true
	}
	w.e.Mutations = append(w.e.Mutations, m)
	return nil
}

// finish adds the rows that got a new key, which no other row may have.
func (w *rewriting) finish(ctx context.Context, at *tableSources) (*effect, error) {
	if len(w.inserts) == 0 {
		return w.e, nil
	}
	w.e.shown, w.e.moved = []int{}, len(w.inserts)
	for i := range w.e.Mutations {
		if !w.leaving[string(w.e.Mutations[i].Key)] {
			w.e.shown = append(w.e.shown, i)
		}
	}
	var entering [][]byte
	for _, m := range w.inserts {
		if !w.leaving[string(m.Key)] {
			entering = append(entering, m.Key)
		}
		w.e.shown = append(w.e.shown, len(w.e.Mutations))
		w.e.Mutations = append(w.e.Mutations, m)
	}
	return w.e, w.c.refuseFound(ctx, at, entering)
}

// changedTable is the table that a DML statement changes; ok is false for other statements.
func changedTable(st sql.Statement) (name sql.Name, ok bool) {
	switch st := st.(type) {
	case *sql.Insert:
		return st.Table, true
	case *sql.Update:
		return st.Table, true
	case *sql.Delete:
		return st.Table, true
	}
	return name, false
}

// writable finds the table of a DML statement.
func (db *DB) writable(s *statement, name sql.Name) (*catalog.Table, error) {
	if name.Namespace == systemNS || name.Namespace == infoSchemaNS {
		return nil, fail(CodeNotSupportedYet, "writing to %s.%s is not supported yet", name.Namespace, name.Name).at(name.Pos)
	}
	t, err := db.table(s, name)
	if err != nil {
		return nil, err
	}
	return t, s.allowWrite(t, name.Pos)
}

// targetsOf are the positions of the columns that sets assign to.
func targetsOf(t *catalog.Table, sets []sql.Set) ([]int, error) {
	targets := make([]int, len(sets))
	for i, set := range sets {
		j, err := columnOf(t, set.Column, set.Pos)
		if err != nil {
			return nil, err
		}
		targets[i] = j
	}
	return targets, nil
}

// checkParams refuses a request whose parameters are not those that the statement uses.
func (s *statement) checkParams() error {
	if used, given := sql.ParamsOf(s.Source()), len(s.req.Params); used != given {
		return fail(CodeInvalidParams, "the statement uses %d parameters, %d were given", used, given)
	}
	return nil
}
