package kalamdb

import (
	"context"
	"errors"
	"strings"
	"time"

	"kalamdb/catalog"
	"kalamdb/query"
	"kalamdb/sql"
	"kalamdb/storagelocations"
)

const (
	statementsMax  = 1000
	systemNS       = "system"
	infoSchemaNS   = "information_schema"
	commitTriesMax = 50 // of a statement whose rows change under it
)

// A statement is one parsed and authorised statement of a request.
type statement struct {
	sql.Statement
	audited   bool   // the audit log says that it reads ALL_USERS
	namespace string // of its unqualified names
	req       *Request
	now       time.Time    // what NOW() says all through it
	txn       *transaction // that it is part of; nil if it stands alone
}

// Exec runs the statements of req in order and stops at the first that fails;
// earlier ones stay done and their results are returned with the error. The whole
// text is parsed and authorised before the first statement runs.
func (db *DB) Exec(ctx context.Context, req Request) ([]Result, error) {
	if !db.calls.enter() {
		return nil, errClosed()
	}
	defer db.calls.leave()
	list, err := db.prepare(&req)
	if err != nil {
		return nil, err
	}
	results := make([]Result, 0, len(list))
	for i := 0; i < len(list); i++ {
		if _, begins := list[i].Statement.(*sql.Begin); begins {
			end := i + endOfTransaction(list[i:])
			got, at, err := db.transact(ctx, list[i:end+1])
			if err != nil {
				return results, db.failed(err, i+at)
			}
			results, i = append(results, got...), end
			continue
		}
		list[i].now = time.Now()
		res, err := db.runTimed(ctx, &list[i])
		if err != nil {
			return results, db.failed(err, i)
		}
		results = append(results, res)
	}
	return results, nil
}

// runTimed runs one statement, and notes it in system.queries.
func (db *DB) runTimed(ctx context.Context, s *statement) (Result, error) {
	started := time.Now()
	ctx, q := db.queries.start(ctx, s)
	res, err := db.run1(ctx, s)
	if err != nil {
		err = killed(ctx, err)
		db.queries.end(q, 0, asError(err))
		return Result{}, err
	}
	db.queries.end(q, max(res.Affected, int64(len(res.Rows))), nil)
	res.Statement, res.Took = s.Verb(), time.Since(started)
	return res, nil
}

// failed finishes the error of statement i, and logs it if it is ours.
func (db *DB) failed(err error, i int) *Error {
	e := *asError(err)
	e.Statement = i
	if e.Code == CodeInternal || e.Code == CodeNotReady && errors.Is(e.Cause, storagelocations.ErrCredentials) {
		db.log.Error("statement failed", "err", e.Cause)
	}
	return &e
}

// Query runs the one SELECT of req and streams its rows. The caller closes them: until
// then Close of the database waits.
func (db *DB) Query(ctx context.Context, req Request) (_ *Rows, err error) {
	if !db.calls.enter() {
		return nil, errClosed()
	}
	streams := false
	defer func() {
		if !streams {
			db.calls.leave()
		}
	}()
	list, err := db.prepare(&req)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, fail(CodeInvalidRequest, "%d statements, expected one SELECT to stream", len(list))
	}
	list[0].now = time.Now()
	if sel, ok := selected(list[0].Statement); ok {
		ctx, q := db.queries.start(ctx, &list[0])
		rows, err := db.streamed(ctx, &list[0], sel)
		if err != nil {
			failure := db.failed(killed(ctx, err), 0)
			db.queries.end(q, 0, failure)
			return nil, failure
		}
		relocated, release := rows.wrap, rows.done
		rows.wrap = func(err error) error { return db.failed(killed(ctx, relocated(err)), 0) }
		rows.done = func() {
			release()
			db.queries.end(q, rows.count, asError(rows.Err()))
			db.calls.leave()
		}
		streams = true
		return rows, nil
	}
	switch list[0].Statement.(type) {
	case *sql.Explain, *sql.ShowNamespaces, *sql.ShowTables, *sql.ShowTableStats, *sql.Describe:
	default:
		return nil, fail(CodeInvalidRequest, "%s returns no rows, expected one SELECT to stream", list[0].Verb())
	}
	res, err := db.runTimed(ctx, &list[0])
	if err != nil {
		return nil, db.failed(err, 0)
	}
	return &Rows{columns: res.Columns, src: &memoryRows{rows: res.Rows}, done: func() {}}, nil
}

// prepare parses and authorises all statements of req.
func (db *DB) prepare(req *Request) ([]statement, error) {
	if req.As.User == "" {
		return nil, fail(CodeUnauthenticated, "the request says not who asks")
	}
	if err := db.allow(req, 1); err != nil {
		return nil, err
	}
	parsed, err := sql.Parse(req.SQL)
	if err != nil {
		return nil, db.failed(err, len(parsed))
	}
	if len(parsed) > 1 {
		db.owe(req, len(parsed)-1)
	}
	switch {
	case len(parsed) == 0:
		return nil, fail(CodeSyntax, "the request holds no statement").at(0)
	case len(parsed) > statementsMax:
		return nil, fail(CodeTooLarge, "%d statements in one request, the limit is %d", len(parsed), statementsMax)
	case len(req.Params) > 0 && len(parsed) != 1:
		return nil, fail(CodeInvalidParams, "params are allowed with exactly one statement, the request has %d", len(parsed))
	}
	namespace := strings.ToLower(req.Namespace)
	if namespace == "" {
		namespace = catalog.DefaultName
	}
	list := make([]statement, len(parsed))
	for i, s := range parsed {
		list[i] = statement{Statement: s, namespace: namespace, req: req}
		if err := db.authorise(&list[i], len(parsed) > 1); err != nil {
			return nil, db.failed(err, i)
		}
		if err := db.authoriseWrite(&list[i]); err != nil {
			return nil, db.failed(err, i)
		}
		if use, ok := s.(*sql.Use); ok {
			namespace = use.Namespace
		}
	}
	if at, err := db.checkTransactions(list); err != nil {
		return nil, db.failed(err, at)
	}
	return list, nil
}

// run1 runs one statement.
func (db *DB) run1(ctx context.Context, s *statement) (Result, error) {
	if name, is := systemTarget(s); is {
		return db.writeSystem(ctx, s, writableTables[name.Name])
	}
	switch st := s.Statement.(type) {
	case *sql.Select:
		return db.runSelect(ctx, s, st)
	case *sql.Insert:
		return db.unaltered(ctx, s, st.Table, func() (Result, error) { return db.insert(ctx, s, st) })
	case *sql.Update:
		return db.unaltered(ctx, s, st.Table, func() (Result, error) { return db.update(ctx, s, st) })
	case *sql.Delete:
		return db.unaltered(ctx, s, st.Table, func() (Result, error) { return db.delete(ctx, s, st) })
	case *sql.Explain:
		return db.explain(ctx, s, st)
	case *sql.Use:
		if _, err := db.catalog.Namespace(st.Namespace); err != nil {
			return Result{}, asError(err).at(s.Start())
		}
		return Result{}, nil
	case *sql.CreateNamespace, *sql.AlterNamespace, *sql.DropNamespace, *sql.CreateTable, *sql.AlterTable, *sql.DropTable,
		*sql.CreatePolicy, *sql.DropPolicy, *sql.Grant:
		return Result{}, db.define(ctx, s)
	case *sql.CreateLocation, *sql.AlterLocation, *sql.DropLocation:
		return Result{}, db.defineLocation(ctx, st)
	case *sql.CreateUser:
		return Result{}, db.createUser(ctx, s, st)
	case *sql.AlterUser:
		return Result{}, db.alterUser(ctx, s, st)
	case *sql.DropUser:
		return Result{}, db.dropUser(ctx, s, st)
	case *sql.CreateAPIKey:
		return db.createAPIKey(ctx, s, st)
	case *sql.DropAPIKey:
		return Result{}, db.dropAPIKey(ctx, s, st)
	case *sql.ExecuteAs:
		return db.executeAs(ctx, s, st)
	case *sql.Begin:
		return Result{}, nil
	case *sql.Commit, *sql.Rollback:
		return s.txn.end(ctx, st)
	case *sql.ShowTableStats:
		return db.showTableStats(ctx, s, st)
	case *sql.ShowNamespaces:
		return db.showNamespaces()
	case *sql.ShowTables:
		return db.showTables(s, st)
	case *sql.Describe:
		return db.describe(s, st)
	case *sql.Export:
		return db.export(ctx, s, st)
	case *sql.ExportUser:
		return db.exportUser(ctx, s, st)
	case *sql.ForgetUser:
		return db.forgetUser(ctx, s, st)
	case *sql.Backup:
		return db.backup(ctx, s, st)
	case *sql.ShowBackup:
		return db.showBackup(ctx, s, st)
	case *sql.DropBackup:
		return db.dropBackup(ctx, s, st)
	case *sql.Restore:
		return db.restore(ctx, s, st)
	case *sql.FlushTable:
		return db.flushTable(ctx, s, st)
	case *sql.FlushAll:
		return db.flushAll(ctx)
	case *sql.CompactTable:
		return db.compactTable(ctx, s, st)
	case *sql.KillLiveQuery:
		return Result{}, db.killLiveQuery(s, st)
	case *sql.KillQuery:
		return Result{}, db.killQuery(s, st)
	case *sql.KillJob:
		if !db.jobs.Kill(st.ID) {
			return Result{}, fail(CodeNotFound, "no running job %s that could be killed", st.ID).details("system.jobs lists the jobs; a flush cannot be killed")
		}
		return Result{}, nil
	}
	return Result{}, fail(CodeNotSupportedYet, "%s is not supported yet", s.Verb()).at(s.Start())
}

// table finds a stored table that the caller may see, by the name a statement uses.
func (db *DB) table(s *statement, name sql.Name) (*catalog.Table, error) {
	namespace := name.Namespace
	if namespace == "" {
		namespace = s.namespace
	}
	t, err := db.readable(s.req.As, namespace, name.Name)
	if err != nil {
		return nil, asError(err).at(name.Pos)
	}
	return t, nil
}

// session is what the functions of a statement may know of its caller.
func (db *DB) session(s *statement) query.Session {
	return query.Session{User: string(s.req.As.User), Role: s.req.As.Role.String(), Now: s.now, NextID: db.buffer.NextID}
}

func fragmentPosition(f sql.Fragment) func(int) int {
	return func(pos int) int {
		if pos < 0 {
			return pos
		}
		return pos + f.Pos
	}
}
