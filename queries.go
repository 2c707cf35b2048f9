package kalamdb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kalamdb/auth"
	"kalamdb/row"
	"kalamdb/sql"
)

const (
	finishedQueriesMax = 1_000 // that system.queries remembers
	queryTextBytesMax  = 4_096 // of a statement in system.queries; the rest is not kept
)

// A queryRecord is a statement in system.queries. All but what its end tells is fixed
// when it starts.
type queryRecord struct {
	id      uint64
	as      auth.Principal
	verb    string
	text    string
	started time.Time

	cancel context.CancelCauseFunc

	ended   time.Time // zero while it runs
	rows    int64     // returned or written
	failure *Error
}

// A queryLog is the statements that run, and those that ended last.
type queryLog struct {
	mu       sync.Mutex // guards all, and the ends of the records; nothing blocks under it
	last     uint64
	running  map[uint64]*queryRecord
	finished []*queryRecord // a ring once it is full
	next     int            // where in the ring the next one goes
}

// start records that s runs, with a context that KILL QUERY ends. The caller calls end once.
func (l *queryLog) start(ctx context.Context, s *statement) (context.Context, *queryRecord) {
	text := s.Source()
	if len(text) > queryTextBytesMax {
		text = strings.ToValidUTF8(text[:queryTextBytesMax], "")
	}
	q := &queryRecord{as: s.req.As, verb: s.Verb(), text: strings.Clone(text), started: s.now} // a clone: the request may be large
	ctx, q.cancel = context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	q.id = l.last
	if l.running == nil {
		l.running = map[uint64]*queryRecord{}
	}
	l.running[q.id] = q
	return ctx, q
}

// end records how q ended; failure is nil if it did what it should.
func (l *queryLog) end(q *queryRecord, rows int64, failure *Error) {
	q.cancel(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	q.ended, q.rows, q.failure = time.Now(), rows, failure
	delete(l.running, q.id)
	if len(l.finished) < finishedQueriesMax {
		l.finished = append(l.finished, q)
		return
	}
	l.finished[l.next] = q
	l.next = (l.next + 1) % finishedQueriesMax
}

// list is a copy of all records, the newest first.
func (l *queryLog) list() []queryRecord {
	l.mu.Lock()
	all := make([]queryRecord, 0, len(l.running)+len(l.finished))
	for _, q := range l.running {
		all = append(all, *q)
	}
	for _, q := range l.finished {
		all = append(all, *q)
	}
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b queryRecord) int { return cmp.Compare(b.id, a.id) })
	return all
}

// queryRows are one's own statements, and for operators those of everyone: without
// literals, which may be rows of a user, and without the words of an error, which may
// repeat them.
func queryRows(db *DB, as auth.Principal, add func(...row.Value)) {
	for _, q := range db.queries.list() {
		own := q.as.User == as.User
		if !own && as.Role < auth.DBA {
			continue
		}
		status, until, code, message := "running", time.Now(), row.NullValue, row.NullValue
		if !q.ended.IsZero() {
			status, until = "completed", q.ended
		}
		if q.failure != nil {
			status, code = "failed", text(q.failure.Code)
			if own {
				message = text(q.failure.Message)
			}
		}
		shown := q.text
		if !own {
			shown = sql.WithoutLiterals(shown)
		}
		add(text(db.queryID(q.id)), text(string(q.as.User)), text(q.as.Role.String()), text(q.verb), text(shown), text(status), moment(q.started),
			row.DoubleValue(float64(until.Sub(q.started).Microseconds())/1000), number(q.rows), code, message, text(db.node))
	}
}

// queryID is how system.queries and KILL QUERY name a statement.
func (db *DB) queryID(n uint64) string {
	return strconv.FormatInt(db.started.UnixMicro(), 36) + "-" + strconv.FormatUint(n, 10)
}

// errKilled is the cause of a context that KILL QUERY ended.
var errKilled = errors.New("killed by KILL QUERY")

// killed is err, unless KILL QUERY is the reason for it.
func killed(ctx context.Context, err error) error {
	if context.Cause(ctx) != errKilled || err == nil || asError(err).Code != CodeCancelled {
		return err
	}
	return fail(CodeKilled, "the statement was ended by KILL QUERY")
}

// killQuery ends a statement that runs: one's own, or anyone's for operators.
func (db *DB) killQuery(s *statement, st *sql.KillQuery) error {
	l := &db.queries
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, q := range l.running {
		if db.queryID(id) == st.ID && (q.as.User == s.req.As.User || s.req.As.Role >= auth.DBA) {
			q.cancel(errKilled)
			return nil
		}
	}
	return fail(CodeNotFound, "no statement %s runs", st.ID).details("system.queries lists them")
}
