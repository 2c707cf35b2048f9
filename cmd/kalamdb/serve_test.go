package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// serve runs a server in this process until stop, and returns its URL.
func serve(t *testing.T, cfg config) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, cfg, w, slog.New(slog.DiscardHandler))
		ended <- err
		w.CloseWithError(io.EOF)
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("the server printed %q, %v; it ended with %v", line, err, <-ended)
	}
	_, url, ok := strings.Cut(strings.TrimSpace(line), "http://")
	if !ok {
		t.Fatalf("the server printed %q, expected its URL", line)
	}
	stopped := false
	stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server ended with %v", err)
			}
		case <-time.After(patience):
			t.Errorf("the server is still there %s after its context ended", patience)
		}
	}
	t.Cleanup(stop)
	return "http://" + url, stop
}

func testConfig(t *testing.T) config {
	cfg := defaultConfig()
	cfg.DataDir, cfg.Listen = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	cfg.Query.MemoryBytes, cfg.Ingest.CacheBytes = 256*mib, 8*mib
	return cfg
}

// TestSQLCommand talks to a server as the operator and as a user, in every format.
func TestSQLCommand(t *testing.T) {
	cfg := testConfig(t)
	url, _ := serve(t, cfg)
	sql := func(stdin string, args ...string) (string, error) {
		t.Helper()
		out, _, err := commandLine(t, stdin, append([]string{"sql", "--url", url, "--data-dir", cfg.DataDir}, args...)...)
		return out, err
	}
	out, err := sql("", "-c", `CREATE NAMESPACE app; CREATE USER TABLE app.notes (id BIGINT PRIMARY KEY, text TEXT)`)
	if err != nil || !strings.HasPrefix(out, "CREATE NAMESPACE (") || !strings.Contains(out, "\nCREATE TABLE (") {
		t.Fatalf("definitions: %q, %v", out, err)
	}
	if out, err = sql("INSERT INTO app.notes VALUES (9007199254740993, 'a < b'), (2, NULL);", "--user", "ana", "--format", "json"); err != nil ||
		!strings.HasPrefix(out, `{"statement":"INSERT","affected_rows":2,"seq":`) {
		t.Fatalf("insert from standard input: %q, %v", out, err)
	}
	file := filepath.Join(t.TempDir(), "q.sql")
	if err := os.WriteFile(file, []byte("SELECT id, text FROM app.notes ORDER BY id"), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{
		"json": "[{\"id\":2,\"text\":null},\n {\"id\":\"9007199254740993\",\"text\":\"a < b\"}]\n",
		"csv":  "id,text\n2,\n9007199254740993,a < b\n",
	} {
		if out, err := sql("", "-f", file, "--user", "ana", "--format", format); err != nil || out != want {
			t.Errorf("as %s: %q, %v, expected %q", format, out, err, want)
		}
	}
	if out, err := sql("", "-f", file, "--user", "ben", "--format", "csv"); err != nil || out != "id,text\n" {
		t.Errorf("ben reads %q, %v, expected nothing of ana", out, err)
	}
	out, err = sql("", "-c", "SELECT *\nFROM app.nodes", "--user", "ana")
	if err == nil || out != "" || !strings.HasPrefix(err.Error(), "TABLE_NOT_FOUND: ") || !strings.HasSuffix(err.Error(), "\nline 2: FROM app.nodes\n             ^") {
		t.Errorf("a misspelt table: %q, %v", out, err)
	}
	if _, err := sql("", "-c", "SELECT 1", "--token", "forged"); err == nil || !strings.HasPrefix(err.Error(), "UNAUTHENTICATED: ") {
		t.Errorf("a forged token: %v", err)
	}
}

// TestDevMode acts without any token, as root or as the user of --user.
func TestDevMode(t *testing.T) {
	cfg := testConfig(t)
	cfg.Dev = true
	url, _ := serve(t, cfg)
	for user, want := range map[string]string{"": "root/dba", "ana": "ana/user"} {
		args := []string{"sql", "--url", url, "--data-dir", t.TempDir(), "--format", "csv", "-c", "SELECT CURRENT_USER() || '/' || CURRENT_ROLE() AS who"}
		if user != "" {
			args = append(args, "--user", user)
		}
		if out, _, err := commandLine(t, "", args...); err != nil || out != "who\n"+want+"\n" {
			t.Errorf("--user %q is %q, %v, expected %s", user, out, err, want)
		}
	}
}

// TestSecondServer is refused, and the first one does not mind.
func TestSecondServer(t *testing.T) {
	cfg := testConfig(t)
	url, _ := serve(t, cfg)
	err := run(t.Context(), cfg, io.Discard, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "in use by another server") {
		t.Errorf("a second server on one data directory ended with %v", err)
	}
	if _, _, err := commandLine(t, "", "sql", "--url", url, "--data-dir", cfg.DataDir, "-c", "SELECT 1"); err != nil {
		t.Errorf("the first server: %v", err)
	}
}

// TestWatchSurvivesARestart loses its connection between two changes and prints
// every change once.
func TestWatchSurvivesARestart(t *testing.T) {
	cfg := testConfig(t)
	url, stop := serve(t, cfg)
	ana := func(sql string) {
		t.Helper()
		if _, _, err := commandLine(t, "", "sql", "--url", url, "--data-dir", cfg.DataDir, "--user", "ana", "-c", sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if _, _, err := commandLine(t, "", "sql", "--url", url, "--data-dir", cfg.DataDir, "-c", "CREATE NAMESPACE app; CREATE USER TABLE app.n (id INT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	ana("INSERT INTO app.n VALUES (1)")

	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	root := newRoot()
	root.SetOut(w)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"watch", "SELECT * FROM app.n", "--url", url, "--data-dir", cfg.DataDir, "--user", "ana", "--last-rows", "5"})
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	lines := make(chan string)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(r); s.Scan(); {
			lines <- s.Text()
		}
	}()
	next := func(typ string, id int) {
		t.Helper()
		var line string
		select {
		case line = <-lines:
		case err := <-ended:
			t.Fatalf("watch ended with %v", err)
		case <-time.After(patience):
			t.Fatalf("no %s of row %d after %s", typ, id, patience)
		}
		var f struct {
			Type string
			Rows []struct{ ID int }
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Type != typ || len(f.Rows) != 1 || f.Rows[0].ID != id {
			t.Errorf("line %s, expected a %s of row %d", line, typ, id)
		}
	}
	next("initial_data", 1)
	ana("INSERT INTO app.n VALUES (2)")
	next("change", 2)

	stop()
	cfg.Listen = strings.TrimPrefix(url, "http://")
	_, stop = serve(t, cfg)
	ana("INSERT INTO app.n VALUES (3)")
	next("change", 3)
	ana("INSERT INTO app.n VALUES (4)")
	next("change", 4)

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("watch ended with %v after its context, expected no error", err)
	}
	w.CloseWithError(io.EOF)
	<-read
	stop()
}

// TestListen refuses what would send tokens in clear to whoever listens.
func TestListen(t *testing.T) {
	for _, c := range []struct {
		listen string
		change func(*config)
		refuse string
	}{
		{"127.0.0.1:0", nil, ""}, {"localhost:0", nil, ""}, {"[::1]:0", nil, ""},
		{"0.0.0.0:0", nil, "TLS"}, {":0", nil, "TLS"}, {"192.0.2.1:8080", nil, "TLS"},
		{"0.0.0.0:0", func(c *config) { c.Server.AllowPlainHTTP = true }, ""},
		{"0.0.0.0:0", func(c *config) { c.Server.TLSCertFile, c.Server.TLSKeyFile = "c", "k" }, ""},
		{"0.0.0.0:0", func(c *config) { c.Server.AllowPlainHTTP, c.Dev = true, true }, "--dev"},
		{"8080", nil, "HOST:PORT"},
	} {
		cfg := defaultConfig()
		if cfg.Listen = c.listen; c.change != nil {
			c.change(&cfg)
		}
		err := checkListen(t.Context(), cfg)
		if (err == nil) != (c.refuse == "") || err != nil && !strings.Contains(err.Error(), c.refuse) {
			t.Errorf("%s: %v, expected %q", c.listen, err, c.refuse)
		}
	}
}
