package kalamdb

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"kalamdb/audit"
	"kalamdb/ingest"
	"kalamdb/lake"
	"kalamdb/live"
	"kalamdb/query"
	"kalamdb/storagelocations"
)

// Options say where a database lives and how large it may grow. Only DataDir is
// needed; the zero value of everything else is a good default. The fields that
// Open sets itself (directories, the parts that know each other) are ignored.
type Options struct {
	// DataDir holds the write buffer, the object cache, the secret and, unless
	// Storage says otherwise, the storage itself. One process at a time may use it.
	DataDir string
	// Storage is the url of the location `default`, which also holds the catalog:
	// s3://bucket/prefix or file:///absolute/path. "" is <DataDir>/storage.
	Storage string
	// ReadOnly reads what another server keeps in Storage, and follows it: rows appear
	// here some seconds after they were flushed there. Nothing is written but in DataDir,
	// which must be one of its own.
	ReadOnly bool
	// S3 is how every s3:// url is reached. Empty fields come from the standard
	// AWS environment and profile.
	S3 storagelocations.S3Options
	// Node names this server in system.jobs and system.live_queries. "" is the host name.
	Node string
	// Settings are what system.settings shows, secrets masked. nil: an empty table.
	Settings []Setting
	// DBABypassesPolicies frees the role dba from policies and column grants, as the role
	// system always is.
	DBABypassesPolicies bool
	// FlushOnClose is how long Close may take to move all buffered rows to the storage. 0:
	// they stay in the buffer for the next Open.
	FlushOnClose time.Duration
	// Logger gets what the operator should know. nil discards it.
	Logger *slog.Logger

	// UserStatementsPerSecond bounds the statements of one user of the role user, who may
	// save up ten seconds' worth. 0: 5,000.
	UserStatementsPerSecond int

	Transfer TransferOptions

	Ingest ingest.Options
	Lake   lake.Options
	Query  query.Options
	Live   live.Options
	Audit  audit.Options
}

// insertedBytesMax bounds the encoded rows of one statement.
const insertedBytesMax = 256 << 20

const statementTimeoutDefault = time.Minute

// storageURL is the url of the default location.
func (o Options) storageURL() string {
	if o.Storage != "" {
		return o.Storage
	}
	return "file://" + filepath.Join(o.DataDir, "storage")
}

// complete checks o, fills in what is derived and makes the directories.
func (o Options) complete() (Options, error) {
	if o.DataDir == "" {
		return o, fmt.Errorf("Options.DataDir is empty, expected a folder for the database")
	}
	abs, err := filepath.Abs(o.DataDir)
	if err != nil {
		return o, err
	}
	o.DataDir = abs
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Node == "" {
		if o.Node, err = os.Hostname(); err != nil {
			o.Node = "local"
		}
	}
	for _, dir := range []string{"buffer", "cache", "temp"} {
		if err := os.MkdirAll(filepath.Join(abs, dir), 0o700); err != nil {
			return o, err
		}
	}
	o.Ingest.Dir = filepath.Join(abs, "buffer")
	o.Ingest.Logger = o.Logger
	if o.Ingest.BatchRowsMax == 0 {
		o.Ingest.BatchRowsMax = insertedRowsMax
	}
	if o.Ingest.BatchBytesMax == 0 {
		o.Ingest.BatchBytesMax = insertedBytesMax
	}
	o.Lake.CacheDir = filepath.Join(abs, "cache")
	o.Lake.Logger = o.Logger
	if o.Query.QueryTimeout == 0 {
		o.Query.QueryTimeout = statementTimeoutDefault
	}
	if o.UserStatementsPerSecond <= 0 {
		o.UserStatementsPerSecond = userStatementsPerSecondDefault
	}
	if o.Transfer, err = o.Transfer.complete(abs); err != nil {
		return o, err
	}
	o.Query.CacheDir = o.Lake.CacheDir
	o.Query.TempDir = filepath.Join(abs, "temp")
	o.Live.Node = o.Node
	return o, nil
}
