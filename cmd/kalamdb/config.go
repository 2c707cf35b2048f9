package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"kalamdb"
	"kalamdb/audit"
	"kalamdb/auth"
	"kalamdb/ingest"
	"kalamdb/lake"
	"kalamdb/live"
	"kalamdb/query"
	"kalamdb/server"
	"kalamdb/storagelocations"
)

// A config is every setting of a server. Its key is the path of tags with dots
// (storage.s3.region); in the environment KALAMDB_ with underscores
// (KALAMDB_STORAGE_S3_REGION). kalamdb.example.toml says what each one means, and a
// test holds the two together. What a value may be is checked by the package whose
// Options it ends in; for numbers and times 0 means that package's default.
type config struct {
	DataDir string `koanf:"data_dir"`
	Listen  string `koanf:"listen"`
	Dev     bool   `koanf:"dev"`

	ReadOnly bool `koanf:"read_only"`

	Log     logConfig     `koanf:"log"`
	Storage storageConfig `koanf:"storage"`
	Auth    authConfig    `koanf:"auth"`
	Server  serverConfig  `koanf:"server"`
	Ingest  ingestConfig  `koanf:"ingest"`
	Lake    lakeConfig    `koanf:"lake"`
	Query   queryConfig   `koanf:"query"`
	Live    liveConfig    `koanf:"live"`
	Audit   auditConfig   `koanf:"audit"`

	Transfer transferConfig `koanf:"transfer"`
}

type logConfig struct {
	Level  string `koanf:"level"`
	Format string `koanf:"format"`
}

type storageConfig struct {
	URL string   `koanf:"url"`
	S3  s3Config `koanf:"s3"`
}

type s3Config struct {
	Region         string `koanf:"region"`
	Endpoint       string `koanf:"endpoint"`
	AccessKey      string `koanf:"access_key"`
	SecretKey      string `koanf:"secret_key"`
	CredentialsRef string `koanf:"credentials_ref"`
	PathStyle      bool   `koanf:"path_style"`
	Checksums      string `koanf:"checksums"`
	SSE            string `koanf:"sse"`
	SSEKMSKeyID    string `koanf:"sse_kms_key_id"`
}

type authConfig struct {
	Issuer    string   `koanf:"issuer"`
	Audience  string   `koanf:"audience"`
	JWKSURL   string   `koanf:"jwks_url"`
	PEMFile   string   `koanf:"pem_file"`
	UserClaim string   `koanf:"user_claim"`
	RoleClaim string   `koanf:"role_claim"`
	Roles     []string `koanf:"roles"`

	DBABypassesPolicies bool `koanf:"dba_bypasses_policies"`
}

type serverConfig struct {
	TLSCertFile          string        `koanf:"tls_cert_file"`
	TLSKeyFile           string        `koanf:"tls_key_file"`
	AllowPlainHTTP       bool          `koanf:"allow_plain_http"`
	MetricsListen        string        `koanf:"metrics_listen"`
	TrustedProxies       []string      `koanf:"trusted_proxies"`
	ConnectionsMax       int           `koanf:"connections_max"`
	PerAddressMax        int           `koanf:"connections_per_address_max"`
	CORSOrigins          []string      `koanf:"cors_origins"`
	BodyBytesMax         byteSize      `koanf:"body_bytes_max"`
	SocketsMax           int           `koanf:"sockets_max"`
	FrameBytesMax        byteSize      `koanf:"frame_bytes_max"`
	SubscriptionsMax     int           `koanf:"subscriptions_max"`
	UserSocketsMax       int           `koanf:"user_sockets_max"`
	UserSubscriptionsMax int           `koanf:"user_subscriptions_max"`
	MessagesPerSecond    int           `koanf:"messages_per_second"`
	OutboxBytesMax       byteSize      `koanf:"outbox_bytes_max"`
	WriteTimeout         time.Duration `koanf:"write_timeout"`
	TokenNotice          time.Duration `koanf:"token_notice"`
	PingInterval         time.Duration `koanf:"ping_interval"`
	ShutdownTimeout      time.Duration `koanf:"shutdown_timeout"`
}

type ingestConfig struct {
	BufferBytesMax     byteSize      `koanf:"buffer_bytes_max"`
	RowBytesMax        byteSize      `koanf:"row_bytes_max"`
	BatchRowsMax       int           `koanf:"batch_rows_max"`
	BatchBytesMax      byteSize      `koanf:"batch_bytes_max"`
	ChangeLogAge       time.Duration `koanf:"change_log_age"`
	ChangeLogBytesMax  byteSize      `koanf:"change_log_bytes_max"`
	CacheBytes         byteSize      `koanf:"cache_bytes"`
	MemTableBytes      byteSize      `koanf:"mem_table_bytes"`
	FreeDiskPercentMin int           `koanf:"free_disk_percent_min"`
	FlushBytes         byteSize      `koanf:"flush_bytes"`
	FlushOnShutdown    time.Duration `koanf:"flush_on_shutdown"`
}

type lakeConfig struct {
	CacheBytesMax   byteSize      `koanf:"cache_bytes_max"`
	PartialMin      byteSize      `koanf:"partial_read_bytes_min"`
	RowGroupRows    int           `koanf:"row_group_rows"`
	Grace           time.Duration `koanf:"grace"`
	Compaction      bool          `koanf:"compaction"`
	CompactFiles    int           `koanf:"compact_files"`
	CompactParallel int           `koanf:"compact_parallel"`

	PackPartitionsMin int           `koanf:"pack_partitions_min"`
	PackRowsMax       int           `koanf:"pack_rows_max"`
	PackBytesMax      byteSize      `koanf:"pack_bytes_max"`
	PackAge           time.Duration `koanf:"pack_age"`
}

type queryConfig struct {
	MemoryBytes        byteSize      `koanf:"memory_bytes"`
	Threads            int           `koanf:"threads"`
	Concurrency        int           `koanf:"concurrency"`
	UserPerSecond      int           `koanf:"user_statements_per_second"`
	QuickTime          time.Duration `koanf:"quick_time"`
	SlowConcurrency    int           `koanf:"slow_concurrency"`
	UserConcurrency    int           `koanf:"user_concurrency"`
	WaitersMax         int           `koanf:"waiters_max"`
	UserWaitersMax     int           `koanf:"user_waiters_max"`
	Timeout            time.Duration `koanf:"timeout"`
	ResultRowsMax      int64         `koanf:"result_rows_max"`
	ResultBytesMax     byteSize      `koanf:"result_bytes_max"`
	OpenResultBytesMax byteSize      `koanf:"open_result_bytes_max"`
}

type liveConfig struct {
	QueueBytesMax byteSize `koanf:"queue_bytes_max"`
}

type auditConfig struct {
	FileBytesMax byteSize `koanf:"file_bytes_max"`
	FilesMax     int      `koanf:"files_max"`
}

type transferConfig struct {
	Folders      []string `koanf:"folders"`
	FileBytesMax byteSize `koanf:"file_bytes_max"`
}

const (
	mib byteSize = 1 << 20
	gib byteSize = 1 << 30
)

func defaultConfig() config {
	return config{
		DataDir: "./data",
		Listen:  "127.0.0.1:8080",
		Log:     logConfig{Level: "info", Format: "text"},
		Auth:    authConfig{Roles: []string{}},
		Server: serverConfig{
			TrustedProxies: []string{"127.0.0.0/8", "::1/128"}, ConnectionsMax: 20_000, PerAddressMax: 1_024,
			CORSOrigins: []string{}, BodyBytesMax: 2 * mib, SocketsMax: 10_000, FrameBytesMax: 2 * mib, SubscriptionsMax: 100,
			UserSocketsMax: 1000, UserSubscriptionsMax: 10_000, MessagesPerSecond: 1000, OutboxBytesMax: mib, TokenNotice: time.Minute,
			WriteTimeout: 20 * time.Second, PingInterval: 30 * time.Second, ShutdownTimeout: 10 * time.Second,
		},
		Ingest: ingestConfig{
			BufferBytesMax: 2 * gib, RowBytesMax: mib, BatchRowsMax: 1_000_000, BatchBytesMax: 256 * mib,
			ChangeLogAge: 24 * time.Hour, ChangeLogBytesMax: gib,
			CacheBytes: 128 * mib, MemTableBytes: 64 * mib, FreeDiskPercentMin: 5, FlushBytes: 64 * mib,
		},
		Lake: lakeConfig{CacheBytesMax: 4 * gib, PartialMin: 16 * mib, RowGroupRows: 4096, Grace: time.Hour, Compaction: true, CompactFiles: 8, CompactParallel: 2,
			PackPartitionsMin: lake.PackPartitionsDefault, PackRowsMax: 1000, PackBytesMax: mib / 4, PackAge: 24 * time.Hour},
		Query: queryConfig{
			MemoryBytes: gib, Threads: 2, Concurrency: 4, QuickTime: 100 * time.Millisecond, SlowConcurrency: 2, UserConcurrency: 3, WaitersMax: 1_000, UserWaitersMax: 500, UserPerSecond: 5_000,
			Timeout: time.Minute, ResultRowsMax: 1_000_000, ResultBytesMax: 256 * mib, OpenResultBytesMax: 512 * mib,
		},
		Live:  liveConfig{QueueBytesMax: 8 * mib},
		Audit: auditConfig{FileBytesMax: 8 * mib, FilesMax: 4},

		Transfer: transferConfig{Folders: []string{}, FileBytesMax: 64 * mib},
	}
}

// database are the settings of the database itself.
func (c config) database(log *slog.Logger) kalamdb.Options {
	return kalamdb.Options{
		DataDir: c.DataDir,
		Storage: c.Storage.URL, ReadOnly: c.ReadOnly, DBABypassesPolicies: c.Auth.DBABypassesPolicies,
		S3: storagelocations.S3Options{
			Region: c.Storage.S3.Region, Endpoint: c.Storage.S3.Endpoint,
			AccessKey: c.Storage.S3.AccessKey, SecretKey: c.Storage.S3.SecretKey,
			Credentials: c.Storage.S3.CredentialsRef,
			PathStyle:   c.Storage.S3.PathStyle, Checksums: c.Storage.S3.Checksums,
			SSE: c.Storage.S3.SSE, SSEKMSKeyID: c.Storage.S3.SSEKMSKeyID,
		},
		FlushOnClose: c.Ingest.FlushOnShutdown,
		Logger:       log,
		Ingest: ingest.Options{
			BufferBytesMax: int64(c.Ingest.BufferBytesMax), RowBytesMax: int(c.Ingest.RowBytesMax), BatchRowsMax: c.Ingest.BatchRowsMax,
			BatchBytesMax: int64(c.Ingest.BatchBytesMax),
			ChangeLogAge:  c.Ingest.ChangeLogAge, ChangeLogBytesMax: int64(c.Ingest.ChangeLogBytesMax),
			CacheBytes: int64(c.Ingest.CacheBytes), MemTableBytes: int64(c.Ingest.MemTableBytes), FreeDiskPercentMin: c.Ingest.FreeDiskPercentMin,
			FlushBytes: int64(c.Ingest.FlushBytes),
		},
		Lake: lake.Options{
			CacheBytesMax: int64(c.Lake.CacheBytesMax), PartialBytesMin: cmp.Or(int64(c.Lake.PartialMin), -1), RowGroupRows: c.Lake.RowGroupRows, Grace: c.Lake.Grace,
			CompactOff: !c.Lake.Compaction, CompactFiles: c.Lake.CompactFiles, CompactParallel: c.Lake.CompactParallel,
			PackPartitionsMin: c.Lake.PackPartitionsMin, PackRowsMax: c.Lake.PackRowsMax, PackBytesMax: int64(c.Lake.PackBytesMax), PackAge: c.Lake.PackAge,
		},
		Query: query.Options{
			MemoryBytes: int64(c.Query.MemoryBytes), Threads: c.Query.Threads, Concurrency: c.Query.Concurrency,
			QuickTime: c.Query.QuickTime, SlowConcurrency: c.Query.SlowConcurrency, UserConcurrency: c.Query.UserConcurrency,
			WaitersMax: c.Query.WaitersMax, UserWaitersMax: c.Query.UserWaitersMax,
			QueryTimeout: c.Query.Timeout, ResultRowsMax: c.Query.ResultRowsMax, ResultBytesMax: int64(c.Query.ResultBytesMax),
			OpenResultBytesMax: int64(c.Query.OpenResultBytesMax),
		},
		Live:  live.Options{QueueBytesMax: int64(c.Live.QueueBytesMax)},
		Audit: audit.Options{FileBytesMax: int64(c.Audit.FileBytesMax), FilesMax: c.Audit.FilesMax},

		UserStatementsPerSecond: c.Query.UserPerSecond,

		Transfer: kalamdb.TransferOptions{Folders: c.Transfer.Folders, FileBytesMax: int(c.Transfer.FileBytesMax)},
	}
}

// verifier are the settings of who may come in.
func (c config) verifier() (auth.Options, error) {
	o := auth.Options{
		SecretFile: secretFile(c), Issuer: c.Auth.Issuer, Audience: c.Auth.Audience,
		JWKS: c.Auth.JWKSURL, PEMFile: c.Auth.PEMFile, UserClaim: c.Auth.UserClaim, RoleClaim: c.Auth.RoleClaim,
		Roles: map[string]auth.Role{},
	}
	for _, pair := range c.Auth.Roles {
		theirs, ours, ok := strings.Cut(pair, "=")
		role, err := auth.ParseRole(ours)
		if !ok || err != nil {
			return o, fmt.Errorf("auth.roles: %q, expected the provider's name of a role, = and user, service, dba or system", pair)
		}
		o.Roles[theirs] = role
	}
	return o, nil
}

// scheme is how a client speaks to the server.
func (c config) scheme() string {
	if c.Server.TLSCertFile != "" || c.Server.TLSKeyFile != "" {
		return "https"
	}
	return "http"
}

// http are the settings of HTTP and WebSocket, but for who may come in.
func (c config) http(log *slog.Logger) (server.Options, error) {
	trusted := []netip.Prefix{}
	for _, text := range c.Server.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return server.Options{}, fmt.Errorf("server.trusted_proxies: %q, expected an address or a prefix like 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		trusted = append(trusted, p)
	}
	return server.Options{
		Dev: c.Dev, Logger: log,
		CertFile: c.Server.TLSCertFile, KeyFile: c.Server.TLSKeyFile, PlainHTTP: c.Server.AllowPlainHTTP,
		TrustedProxies: trusted, MetricsApart: c.Server.MetricsListen != "",
		ConnectionsMax: c.Server.ConnectionsMax, ConnectionsPerAddressMax: c.Server.PerAddressMax,
		CORSOrigins: c.Server.CORSOrigins, BodyBytesMax: int64(c.Server.BodyBytesMax),
		SocketsMax: c.Server.SocketsMax, FrameBytesMax: int64(c.Server.FrameBytesMax),
		UserSocketsMax: c.Server.UserSocketsMax, UserSubscriptionsMax: c.Server.UserSubscriptionsMax, MessagesPerSecond: c.Server.MessagesPerSecond,
		SubscriptionsMax: c.Server.SubscriptionsMax, TokenNotice: c.Server.TokenNotice, OutboxBytesMax: int64(c.Server.OutboxBytesMax),
		WriteTimeout: c.Server.WriteTimeout, PingInterval: c.Server.PingInterval, ShutdownTimeout: c.Server.ShutdownTimeout,
	}, nil
}
