package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamdb/audit"
	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/jobs"
	"kalamdb/lake"
	"kalamdb/live"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A DB is an open database. It is safe for concurrent use.
type DB struct {
	log     *slog.Logger
	node    string
	nodeID  string // of the data directory, in commit logs
	started time.Time
	secret  []byte

	lock    *os.File
	places  *storagelocations.Places
	bucket  storagelocations.Bucket // of the location `default`
	buckets *tableBuckets           // of the others
	catalog *catalog.Catalog

	readOnly bool // see readonly.go

	lake   *lake.Lake
	hub    *live.Hub
	buffer *ingest.Buffer
	engine *query.Engine
	jobs   *jobs.Table
	audit  *audit.Log

	writers     partitionLocks
	defaults    defaultCache
	goodPlans   goodPlans
	rules       keptRules
	dbaBypasses bool // policies
	kept        keptRows
	queries     queryLog
	settings    []Setting
	userWatch   userWatch
	definitions chan struct{} // holds one token while a definition changes
	removals    chan struct{} // holds a token for each dropped table being removed
	transfers   chan struct{} // holds a token for each export, backup or restore that runs
	transfer    TransferOptions
	dataDir     string

	rate                *query.Allowance
	statementsPerSecond int // of one user, that rate allows

	flushOnClose     time.Duration
	statementTimeout time.Duration // of an UPDATE or DELETE, the wait for its turn included

	stop    context.CancelFunc
	ctx     context.Context // of the work that outlives a request; done when Close begins
	rooms   *errgroup.Group // buffer and lake
	chores  sync.WaitGroup  // removal of dropped tables
	calls   calls           // of Exec
	failure atomic.Pointer[error]
	closing sync.Once
	closed  error
}

const jobsMax = 10_000

// Open opens the database in o.DataDir, makes it if it is not there, and repeats
// what a crash interrupted. Without local state it starts from what the bucket has.
// The error is [ErrLocked] if another process has the folder open, and row.ErrFenced if
// another server has taken over tables of which this folder has rows that are not in
// the bucket. ctx bounds the opening only.
func Open(ctx context.Context, o Options) (_ *DB, err error) {
	if o, err = o.complete(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{log: o.Logger, node: o.Node, settings: o.Settings, started: time.Now(), jobs: jobs.NewTable(jobsMax, o.Node), hub: live.NewHub(o.Live),
		definitions: make(chan struct{}, 1), removals: make(chan struct{}, removalsAtOnce),
		transfers: make(chan struct{}, transfersAtOnce), transfer: o.Transfer, dataDir: o.DataDir, readOnly: o.ReadOnly, dbaBypasses: o.DBABypassesPolicies, flushOnClose: o.FlushOnClose, statementTimeout: o.Query.QueryTimeout,
		rate: newRate(o.UserStatementsPerSecond), statementsPerSecond: o.UserStatementsPerSecond}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open database: %w", err), db.Close())
		}
	}()
	if db.lock, err = lockDir(o.DataDir); err != nil {
		return nil, err
	}
	if db.secret, err = auth.LoadOrCreateSecret(filepath.Join(o.DataDir, "secret")); err != nil {
		return nil, err
	}
	if db.nodeID, err = nodeID(o.DataDir); err != nil {
		return nil, err
	}
	o.Lake.Node = db.nodeID
	if db.audit, err = audit.Open(filepath.Join(o.DataDir, "audit"), o.Audit); err != nil {
		return nil, err
	}
	db.places = storagelocations.NewPlaces(storagelocations.Options{S3: o.S3})
	if err := db.openCatalog(ctx, o); err != nil {
		return nil, err
	}
	db.catalog.OnUsers(db.userWatch.tell)
	db.buckets = newTableBuckets(db.catalog, db.places)
	o.Lake.Meta, o.Lake.Bucket, o.Lake.Tables = db.bucket, db.bucketOf, db.catalog.TableByID
	o.Lake.Oldest = func() (row.Seq, time.Time, bool) { return db.buffer.OldestView() }
	o.Lake.Events.Compacting, o.Lake.Events.Collected = db.compactJob, db.collectJob
	if db.lake, err = lake.Open(ctx, o.Lake, db.catalog.Tables()); err != nil {
		return nil, err
	}
	// After the loss of the buffer no Seq that a client may have seen is used again.
	o.Ingest.SeqFloor, o.Ingest.Known = db.lake.MaxSeq(), len(db.catalog.Tables()) > 0
	o.Ingest.Sink, o.Ingest.Observer, o.Ingest.Policy, o.Ingest.Events = db.lake, db.hub, db.flushPolicy, db.flushJobs()
	o.Ingest.SchemaVersion = db.schemaVersion
	o.Ingest.Stream, o.Ingest.Listening, o.Ingest.Over = db.streamPolicy, db.hub.Listening, db.hub.Over
	if db.readOnly {
		o.Ingest.Sink = nil
	}
	if db.buffer, err = ingest.Open(o.Ingest); err != nil {
		return nil, err
	}
	if db.engine, err = query.Open(o.Query); err != nil {
		return nil, err
	}
	db.run()
	return db, nil
}

// run starts the background work, which Close waits for.
func (db *DB) run() {
	var ctx context.Context
	ctx, db.stop = context.WithCancel(context.Background())
	db.ctx = ctx
	db.rooms = new(errgroup.Group)
	watch := func(name string, run func(context.Context) error) {
		db.rooms.Go(func() error {
			err := run(ctx)
			if err != nil && ctx.Err() == nil {
				err = fmt.Errorf("%s stopped: %w", name, err)
				db.failure.CompareAndSwap(nil, &err)
				db.buffer.Fence(err) // if it is that another server has taken over: no more commits
				db.log.Error("background work stopped; the database needs a restart", "part", name, "err", err)
				return err
			}
			return nil
		})
	}
	watch("ingest", db.buffer.Run)
	if db.readOnly {
		watch("lake", db.follow)
		return
	}
	watch("lake", db.lake.Run)
	for _, t := range db.catalog.Dropped() {
		db.removeDropped(t)
	}
}

// Close ends live queries, waits for what is in flight and closes the rooms. Every
// acknowledged row is durable, flushed or not. Requests that begin after it fail.
func (db *DB) Close() error {
	db.closing.Do(func() {
		db.hub.CloseAll("shutdown")
		var errs []error
		if db.stop != nil {
			db.lastFlush()
			db.stop()
			db.chores.Wait()
			errs = append(errs, db.rooms.Wait())
		}
		db.calls.end() // they need the engine; who waits for the buffer or the lake has his answer
		if db.engine != nil {
			errs = append(errs, db.engine.Close()) // before the buffer: its queries read snapshots
		}
		if db.buffer != nil {
			errs = append(errs, db.buffer.Close())
		}
		if db.places != nil {
			db.places.Close()
		}
		if db.audit != nil {
			errs = append(errs, db.audit.Close())
		}
		if db.lock != nil {
			errs = append(errs, db.lock.Close())
		}
		db.closed = errors.Join(errs...)
	})
	return db.closed
}

// lastFlush moves what is buffered to the lake, if that is asked for and possible in the
// time for it. What stays is there at the next start.
func (db *DB) lastFlush() {
	if db.readOnly || db.flushOnClose <= 0 || db.failure.Load() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), db.flushOnClose)
	defer cancel()
	if _, err := db.buffer.Flush(ctx, func(row.Partition) bool { return true }); err != nil {
		db.log.Warn("not all rows were flushed before the shutdown, the next start goes on", "err", err)
	}
}

// Secret is the HS256 key of <DataDir>/secret, with which tokens are signed.
func (db *DB) Secret() []byte { return db.secret }

// Ready says why the database cannot serve at the moment, or nil. It runs a real
// query and a real read of the buffer.
func (db *DB) Ready(ctx context.Context) error {
	if err := db.failure.Load(); err != nil {
		return *err
	}
	if err := db.ctx.Err(); err != nil {
		return errors.New("the database is closing")
	}
	view := db.buffer.View()
	defer view.Close()
	snap, err := view.Partition(ctx, row.Partition{})
	if err != nil {
		return err
	}
	if _, _, err := snap.Get(nil); err != nil {
		return err
	}
	return db.engine.Ready(ctx)
}
