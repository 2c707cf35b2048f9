package kalamdb

import (
	"context"
	"errors"
	"slices"
	"time"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/row"
	"kalamdb/sql"
)

const (
	transactionRowsMax  = 100_000   // rows that one transaction changes
	transactionBytesMax = 128 << 20 // of them in memory, before and after

	transactionTriesMax = 10 // of a commit while rows leave the buffer
)

// A transaction is BEGIN to COMMIT or ROLLBACK of one request, under snapshot isolation:
//
//  1. BEGIN takes the moment that all its statements read.
//  2. Its writes are kept in memory, folded to one per row, and lie over that moment for
//     its own statements. Nobody else sees them.
//  3. COMMIT makes them durable at once, in one range of Seqs, if no row that they
//     change has a newer version than the moment. Otherwise nothing is kept.
//
// So there is no dirty or unrepeatable read, no phantom and no lost update. Two
// transactions that each change what the other one only read may both commit.
type transaction struct {
	db      *DB
	sources tableSources
	own     map[row.Partition]*ownWrites
	order   []*ownWrites // in the order of their first write
	now     time.Time    // what NOW() says all through it
	rows    int
	bytes   int64
}

// begin takes the moment.
func (db *DB) begin(now time.Time) *transaction {
	x := &transaction{db: db, now: now, own: map[row.Partition]*ownWrites{}}
	x.sources = tableSources{db: db, view: db.buffer.View(), txn: x}
	return x
}

// endOfTransaction is the place of the COMMIT or ROLLBACK of the BEGIN at the start of
// list, which checkTransactions has found there.
func endOfTransaction(list []statement) int {
	return slices.IndexFunc(list, func(s statement) bool {
		switch s.Statement.(type) {
		case *sql.Commit, *sql.Rollback:
			return true
		}
		return false
	})
}

// transact runs list, which is BEGIN to COMMIT or ROLLBACK. On an error at is the
// statement that failed.
func (db *DB) transact(ctx context.Context, list []statement) (results []Result, at int, err error) {
	ctx, cancel := context.WithTimeout(ctx, db.statementTimeout)
	defer cancel()
	x := db.begin(time.Now())
	defer x.sources.release()
	for i := range list {
		s := &list[i]
		s.now, s.txn = x.now, x
		res, err := db.runTimed(ctx, s)
		if err != nil {
			e := *asError(err)
			if e.Details != "" {
				e.Details += "; "
			}
			e.Details += "the transaction was rolled back"
			return nil, i, &e
		}
		results = append(results, res)
	}
	return results, 0, nil
}

// end runs COMMIT or ROLLBACK.
func (x *transaction) end(ctx context.Context, s sql.Statement) (Result, error) {
	if _, rollback := s.(*sql.Rollback); rollback {
		return Result{}, nil
	}
	writes, rows := x.writes()
	for try := 1; rows > 0; try++ {
		done, err := x.db.buffer.Commit(ctx, writes...)
		var duplicate *ingest.DuplicateError
		switch {
		case err == nil:
			return Result{IsWrite: true, Affected: int64(rows), Seq: done.Last}, nil
		case errors.As(err, &duplicate):
			return Result{}, transactionConflict(duplicate.Partition)
		case errors.Is(err, ingest.ErrAltered):
			return Result{}, alteredMeanwhile(writes[0].Partition)
		case !errors.Is(err, ingest.ErrConflict) || try == transactionTriesMax:
			return Result{}, err
		}
		if err := x.check(ctx, writes); err != nil {
			return Result{}, err
		}
	}
	return Result{IsWrite: true}, nil
}

// check finds out whether the rows of the writes have changed since the moment of x, or
// have only moved from the buffer to files, and gives the writes their new epochs.
func (x *transaction) check(ctx context.Context, writes []ingest.Write) error {
	latest := tableSources{db: x.db}
	defer latest.release()
	for i := range writes {
		w := &writes[i]
		keys := make([][]byte, len(w.Mutations))
		for j := range w.Mutations {
			keys[j] = w.Mutations[j].Key
		}
		found, err := latest.find(ctx, x.own[w.Partition].table, w.Partition, keys)
		if err != nil {
			return err
		}
		for j := range w.Mutations {
			m := &w.Mutations[j]
			r := found[string(m.Key)]
			unchanged := r == nil || r.Deleted && r.Seq <= w.Seen
			if m.Old != nil {
				unchanged = r != nil && r.Seq == m.Old.Seq
			}
			if !unchanged {
				return transactionConflict(w.Partition)
			}
		}
		latestMoment, err := latest.at(ctx, w.Partition)
		if err != nil {
			return err
		}
		w.Epoch = latestMoment.snap.Epoch()
	}
	return nil
}

func transactionConflict(p row.Partition) *Error {
	return fail(CodeTransactionConflict, "rows of %s that the transaction changes were changed by others while it ran", p.Table).
		details("send the transaction again")
}

func alteredMeanwhile(p row.Partition) *Error {
	return fail(CodeTransactionConflict, "a table that the transaction changes, such as %s, was altered while it ran", p.Table).
		details("send the transaction again")
}

// writes are the folded writes of x.
func (x *transaction) writes() (writes []ingest.Write, rows int) {
	for _, own := range x.order {
		w := ingest.Write{Partition: own.partition, Schema: own.table.Schema(), Epoch: own.frozen.snap.Epoch(), Seen: own.frozen.snap.Seq()}
		for _, r := range own.rows {
			if m, changed := r.mutation(); changed {
				w.Mutations = append(w.Mutations, m)
			}
		}
		rows += len(w.Mutations)
		if len(w.Mutations) > 0 {
			writes = append(writes, w)
		}
	}
	return writes, rows
}

// add lays the mutations of one statement over those before.
func (x *transaction) add(ctx context.Context, t *catalog.Table, w *ingest.Write) error {
	own := x.own[w.Partition]
	if own == nil {
		m, err := x.sources.at(ctx, w.Partition)
		if err != nil {
			return err
		}
		own = &ownWrites{partition: w.Partition, table: t, frozen: m, byKey: map[string]*ownRow{}}
		x.own[w.Partition] = own
		x.order = append(x.order, own)
	}
	if own.table.Ref != t.Ref || own.table.Schema().Version != t.Schema().Version {
		return alteredMeanwhile(w.Partition)
	}
	for i := range w.Mutations {
		r, isNew, err := own.add(&w.Mutations[i], x.now.UnixMicro())
		if err != nil {
			return err
		}
		if isNew {
			x.rows++
			if r.base != nil {
				x.bytes += int64(r.base.Bytes())
			}
		}
		x.bytes += int64(r.now.Bytes())
	}
	switch {
	case x.rows > transactionRowsMax:
		return fail(CodeTooLarge, "the transaction changes more than %d rows, the limit of one transaction", transactionRowsMax)
	case x.bytes > transactionBytesMax:
		return fail(CodeTooLarge, "the changes of the transaction take more than %d bytes, the limit of one transaction", transactionBytesMax)
	}
	return nil
}

// checkTransactions refuses, before anything runs, what the shape of the request says:
// BEGIN and COMMIT that do not belong together, and statements that no transaction
// can have.
func (db *DB) checkTransactions(list []statement) (at int, err error) {
	open := -1
	for i := range list {
		s := &list[i]
		var e *Error
		switch s.Statement.(type) {
		case *sql.Begin:
			if open >= 0 {
				e = fail(CodeInvalidStatement, "BEGIN inside a transaction")
			}
			open = i
		case *sql.Commit, *sql.Rollback:
			if open < 0 {
				e = fail(CodeInvalidStatement, "%s without BEGIN in the same request", s.Verb())
			}
			open = -1
		default:
			if open >= 0 {
				e = db.allowInTransaction(s, s.Statement)
			}
		}
		if e != nil {
			return i, e.at(s.Start())
		}
	}
	if open >= 0 {
		return open, fail(CodeTransactionNotFinished, "the request ends inside the transaction, expected COMMIT or ROLLBACK").
			details("nothing of the request was done").at(list[open].Start())
	}
	return 0, nil
}

// allowInTransaction says why st cannot be part of a transaction, or nil.
func (db *DB) allowInTransaction(s *statement, st sql.Statement) *Error {
	var target sql.Name
	switch st := st.(type) {
	case *sql.ExecuteAs:
		return db.allowInTransaction(s, st.Inner)
	case *sql.Insert, *sql.Update, *sql.Delete:
		target, _ = changedTable(st)
	case *sql.Select, *sql.Explain, *sql.Use, *sql.ShowNamespaces, *sql.ShowTables, *sql.ShowTableStats, *sql.Describe:
		return nil
	default:
		return fail(CodeInvalidStatement, "%s is not possible inside a transaction", st.Verb())
	}
	if target.Namespace == systemNS || target.Namespace == infoSchemaNS {
		return fail(CodeInvalidStatement, "writing to %s is not possible inside a transaction", target)
	}
	if t, err := db.table(s, target); err == nil && t.Type == catalog.Stream {
		return fail(CodeInvalidStatement, "%s is a STREAM table, whose events cannot be part of a transaction", t.Ref)
	}
	return nil
}
