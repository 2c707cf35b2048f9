package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// serverFlags are the flags that stand for a setting, by flag name.
var serverFlags = map[string]string{
	"data-dir":  "data_dir",
	"listen":    "listen",
	"storage":   "storage.url",
	"dev":       "dev",
	"read-only": "read_only",
	"log-level": "log.level",
}

func newServe() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a server until SIGINT or SIGTERM",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, log, err := commandSettings(c, path)
			if err != nil {
				return err
			}
			raiseProcs()
			limitMemory(&cfg, log)
			return run(c.Context(), cfg, c.OutOrStdout(), log)
		},
	}
	d := defaultConfig()
	addConfigFlag(c, &path)
	c.Flags().String("data-dir", d.DataDir, "folder of the write buffer, the cache and the secret")
	c.Flags().String("listen", d.Listen, "address to answer on")
	c.Flags().String("storage", d.Storage.URL, "where the data lives, s3://bucket/prefix or file:///path (default <data-dir>/storage)")
	c.Flags().Bool("read-only", d.ReadOnly, "read what another server writes to --storage, and follow it")
	c.Flags().Bool("dev", d.Dev, "let everybody on this machine in without a token; loopback only")
	c.Flags().String("log-level", d.Log.Level, "debug, info, warn or error")
	return c
}

// addConfigFlag adds --config, whose default is the variable KALAMDB_CONFIG.
func addConfigFlag(c *cobra.Command, path *string) {
	c.Flags().StringVar(path, "config", os.Getenv(envPrefix+"CONFIG"), "TOML file with settings, see kalamdb.example.toml")
}

// commandConfig is the config with the flags of c that the user gave.
func commandConfig(c *cobra.Command, path string) (config, error) {
	flags := map[string]string{}
	c.Flags().Visit(func(f *pflag.Flag) {
		if key, ok := serverFlags[f.Name]; ok {
			flags[key] = f.Value.String()
		}
	})
	return loadConfig(path, os.Environ(), flags)
}

// commandSettings is commandConfig with the log it asks for.
func commandSettings(c *cobra.Command, path string) (config, *slog.Logger, error) {
	cfg, err := commandConfig(c, path)
	if err != nil {
		return cfg, nil, err
	}
	log, err := newLogger(cfg.Log, c.ErrOrStderr())
	return cfg, log, err
}

// newLogger writes what the operator should know to w.
func newLogger(c logConfig, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, fmt.Errorf("log.level is %q, expected debug, info, warn or error", c.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch c.Format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log.format is %q, expected text or json", c.Format)
}

// Of the memory this process may use, Go's heap gets goMemoryShare and DuckDB, which
// allocates outside of it and beyond its own limit, at most duckMemoryShare.
const (
	goMemoryShare   = 0.5
	duckMemoryShare = 0.4
)

// limitMemory fits the process into its cgroup.
func limitMemory(cfg *config, log *slog.Logger) {
	total, err := memlimit.FromCgroup()
	if errors.Is(err, memlimit.ErrNoLimit) || errors.Is(err, memlimit.ErrCgroupsNotSupported) || errors.Is(err, memlimit.ErrNoCgroup) {
		return
	}
	if err != nil {
		log.Info("the memory limit of this process is unknown", "err", err)
		return
	}
	if _, err := memlimit.Set(memlimit.WithRatio(goMemoryShare)); err != nil {
		log.Warn("set Go's memory limit", "err", err)
	}
	if most := byteSize(duckMemoryShare * float64(total)); cfg.Query.MemoryBytes > most {
		log.Warn("query.memory_bytes is too much for this machine and was lowered", "from", cfg.Query.MemoryBytes.String(), "bytes", int64(most))
		cfg.Query.MemoryBytes = most
	}
}

// checkListen refuses an address that is no address, and on one that another machine can
// reach dev mode, and HTTP without TLS that nobody asked for.
func checkListen(ctx context.Context, cfg config) error {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("listen is %q, expected HOST:PORT like 127.0.0.1:8080", cfg.Listen)
	}
	if cfg.Server.AllowPlainHTTP && !cfg.Dev {
		return nil
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil && host != "" {
		return fmt.Errorf("listen: %w", err)
	}
	loopback := len(ips) > 0
	for _, ip := range ips {
		loopback = loopback && ip.IP.IsLoopback()
	}
	switch {
	case loopback:
		return nil
	case cfg.Dev:
		return fmt.Errorf("--dev lets everybody in without a token, so it answers on loopback only: listen is %q, expected 127.0.0.1:PORT", cfg.Listen)
	case cfg.Server.TLSCertFile == "" && cfg.Server.TLSKeyFile == "":
		return fmt.Errorf("listen is %q, which other machines can reach, and tokens would be readable on the way: set server.tls_cert_file and server.tls_key_file, or server.allow_plain_http if a proxy in front ends TLS", cfg.Listen)
	}
	return nil
}

// serverHost is the host and port at which a client on this machine reaches a server that
// listens on addr.
func serverHost(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
}

const metricsTimeout = 10 * time.Second // for one question

// serveMetrics answers GET /metrics on an address of its own until stop is called.
func serveMetrics(listen string, metrics http.Handler, log *slog.Logger) (stop func(), err error) {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("server.metrics_listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	srv := &http.Server{Handler: mux, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "err", err)
		}
	}()
	log.Info("serving metrics", "url", "http://"+serverHost(ln.Addr())+"/metrics")
	return func() {
		if err := srv.Close(); err != nil {
			log.Warn("close the metrics", "err", err)
		}
		<-done
	}, nil
}
