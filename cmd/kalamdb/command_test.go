package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kalamdb/auth"
)

// commandLine runs the command line in this process.
func commandLine(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	root := newRoot()
	var out, log bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&log)
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	return out.String(), log.String(), err
}

func TestMisspelt(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"serv", "unknown command serv, did you mean serve? (see kalamdb --help)"},
		{"tokne --user x", "unknown command tokne, did you mean token?"},
		{"frobnicate", "unknown command frobnicate (see kalamdb --help)"},
		{"serve --lisen x", "unknown flag --lisen, did you mean --listen? (see kalamdb serve --help)"},
		{"serve --dat-dir=x", "unknown flag --dat-dir, did you mean --data-dir?"},
		{"sql -x", "unknown flag --x"},
		{"serve now", `unexpected "now" (see kalamdb serve --help)`},
		{"version 2", `unexpected "2"`},
		{"sql --format tabel -c x", "unknown --format tabel, did you mean table?"},
		{"sql -c a -f b", "-c and -f exclude each other"},
		{"sql --token a --user b -c x", "--token and --user exclude each other"},
		{"watch", "expected one SELECT in quotes, got 0 arguments"},
		{"watch SELECT 1", "expected one SELECT in quotes, got 2 arguments"},
		{"watch x --from-seq 1 --last-rows 1", "--from-seq and --last-rows exclude each other"},
		{"token", "--user is missing"},
		{"token --user a/b", "--user: invalid user id"},
		{"token --user a --role king", "--role: "},
		{"token --user a --ttl 0s", "--ttl is 0s, expected more than 0"},
		{"verify", "the data directory: stat "},
		{"doctor", "the data directory: stat "},
		{"verify --bucket-only --storage ftp://x", "invalid storage url"},
		{"serve --config absent.toml", "read config: open absent.toml"},
		{"serve --log-level loud", `log.level is "loud", expected debug, info, warn or error`},
		{"serve --listen 8080", `listen is "8080", expected HOST:PORT like 127.0.0.1:8080`},
		{"serve --listen 127.0.0.1:http", "expected HOST:PORT"},
		{"serve --dev --listen 0.0.0.0:0", "--dev lets everybody in without a token, so it answers on loopback only"},
		{"serve --dev --listen :0", "--dev lets everybody in"},
		{"sql --url http://127.0.0.1:1 -c x", "connection refused"},
		{"watch x --url http://127.0.0.1:1", "connection refused"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Chdir(t.TempDir())
			out, _, err := commandLine(t, "", strings.Fields(c.args)...)
			if err == nil || !strings.Contains(err.Error(), c.want) || out != "" {
				t.Errorf("error %v, stdout %q, expected an error with %q", err, out, c.want)
			}
			if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
				t.Errorf("a command that failed left %v, %v", entries, err)
			}
		})
	}
}

func TestToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	out, log, err := commandLine(t, "", "token", "--user", "ana", "--role", "service", "--ttl", "1h", "--data-dir", dir)
	if err != nil || !strings.Contains(log, "made "+dir) {
		t.Fatalf("error %v, stderr %q", err, log)
	}
	secret, err := auth.LoadOrCreateSecret(filepath.Join(dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := auth.NewVerifier(auth.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	who, err := v.Verify(strings.TrimSuffix(out, "\n"))
	if err != nil || who.User != "ana" || who.Role != auth.Service {
		t.Errorf("the token is for %+v, %v", who, err)
	}
	if left := time.Until(who.Expires); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the token expires in %s, expected an hour", left)
	}
	if _, log, err := commandLine(t, "", "token", "--user", "ana", "--data-dir", dir); err != nil || log != "" {
		t.Errorf("a second token: error %v, stderr %q", err, log)
	}
}

func TestSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	token, _, err := commandLine(t, "", "token", "--user", "ana", "--data-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	verify := func() error {
		v, err := auth.NewVerifier(auth.Options{SecretFile: filepath.Join(dir, "secret")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(strings.TrimSuffix(token, "\n"))
		return err
	}
	for _, step := range []struct {
		command string
		keys    int
		good    bool // the token that the first key signed
	}{{"list", 1, true}, {"rotate", 2, true}, {"rotate", 3, true}, {"retire", 1, false}, {"retire", 1, false}} {
		out, _, err := commandLine(t, "", "secret", step.command, "--data-dir", dir)
		if lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n"); err != nil || len(lines) != step.keys || !strings.HasSuffix(lines[0], " signs") {
			t.Errorf("%s: %v, %q, expected %d keys", step.command, err, out, step.keys)
		}
		if err := verify(); (err == nil) != step.good {
			t.Errorf("after %s: %v, expected a good token: %t", step.command, err, step.good)
		}
	}
	if _, _, err := commandLine(t, "", "secret", "rotate", "--data-dir", t.TempDir()); err == nil {
		t.Error("a key was put in front of a file that is not there")
	}
}

func TestVersion(t *testing.T) {
	out, _, err := commandLine(t, "", "version")
	if err != nil || !strings.HasPrefix(out, "kalamdb ") || strings.Count(out, "\n") != 1 {
		t.Errorf("version prints %q, %v", out, err)
	}
}
