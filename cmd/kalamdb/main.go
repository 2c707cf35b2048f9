// Command kalamdb is the database server and its command line.
//
//	kalamdb serve    run a server                     (serve.go, and run below)
//	kalamdb token    mint a token with its secret     (token.go)
//	kalamdb secret   replace the key of the tokens    (secret.go)
//	kalamdb users    list, make, change, drop users   (users.go)
//	kalamdb keys     the same for API keys            (users.go)
//	kalamdb sql      send it SQL, or talk to it       (sql.go, repl.go, format.go)
//	kalamdb watch    print changes as they happen     (watch.go)
//	kalamdb import   send it the rows of a file       (import.go, importfile.go, importsend.go)
//	kalamdb export, backup, restore: its statements of that name (transfer.go)
//	kalamdb verify   read and compare all that is stored (verify.go)
//	kalamdb doctor   examine a stopped server, rebuild its logs (doctor.go)
//	kalamdb version  say what this binary is          (version.go)
//
// Settings live in config.go: one struct with every key and default, filled by
// settings.go from the TOML file, then the environment, then flags, and handed to
// each package as its own Options. No other package knows of files, flags or
// environment.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"kalamdb"
	"kalamdb/auth"
	"kalamdb/server"
)

func main() {
	ctx, stop := untilSignal(context.Background(), os.Stderr)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kalamdb: "+err.Error())
		os.Exit(1)
	}
}

// run is a server from its start until ctx is done: it opens upward and closes
// downward. Once it can answer it writes one line with its URL to out.
func run(ctx context.Context, cfg config, out io.Writer, log *slog.Logger) (err error) {
	if err := checkListen(ctx, cfg); err != nil {
		return err // before a data directory is made for a server that must not run
	}
	who, err := cfg.verifier()
	if err != nil {
		return err
	}
	faces, err := cfg.http(log)
	if err != nil {
		return err
	}
	options := cfg.database(log)
	options.Settings = cfg.shown()
	db, err := kalamdb.Open(ctx, options) // takes the data directory, repeats what a crash interrupted
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }() // after the server: no request can be in flight

	if faces.Verifier, err = auth.NewVerifier(who); err != nil {
		return err
	}
	srv := server.New(db, faces)
	if err := db.Ready(ctx); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", cfg.Listen) // from here on clients may connect
	if err != nil {
		return err
	}
	url := cfg.scheme() + "://" + serverHost(ln.Addr())
	if cfg.Server.MetricsListen != "" {
		stop, err := serveMetrics(cfg.Server.MetricsListen, srv.MetricsHandler(), log)
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		defer stop()
	}
	if _, err := fmt.Fprintln(out, "KalamDB is ready on "+url); err != nil {
		log.Warn("nobody reads standard output", "err", err)
	}
	log.Info("serving", "url", url, "data_dir", cfg.DataDir, "dev", cfg.Dev, "version", version())
	if err := srv.Run(ctx, ln); err != nil { // returns when the last request and socket is gone
		return err
	}
	log.Info("stopped")
	return nil
}
