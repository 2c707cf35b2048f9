package main

import (
	"strings"
	"testing"
)

func TestUsersAndKeys(t *testing.T) {
	cfg := testConfig(t)
	url, _ := serve(t, cfg)
	run := func(args ...string) (string, error) {
		t.Helper()
		out, _, err := commandLine(t, "", append(args, "--url", url, "--data-dir", cfg.DataDir)...)
		return out, err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return out
	}
	must("users", "create", "o'brien", "--role", "user", "--username", "O'Brien")
	must("users", "set", "o'brien", "--role", "dba")
	if out := must("users", "list"); !strings.Contains(out, "o'brien") || !strings.Contains(out, "O'Brien") || !strings.Contains(out, "dba") {
		t.Errorf("users list: %s", out)
	}
	out := must("keys", "create", "nightly", "--for", "o'brien", "--role", "service", "--ttl", "30d")
	at := strings.Index(out, "kalam_")
	if at < 0 {
		t.Fatalf("keys create: %s", out)
	}
	key := strings.FieldsFunc(out[at:], func(r rune) bool { return r <= ' ' || r > '~' || r == '|' })[0]
	id, _, _ := strings.Cut(strings.TrimPrefix(key, "kalam_"), "_")
	who := func() (string, error) {
		out, _, err := commandLine(t, "", "sql", "--url", url, "--token", key, "--format", "csv", "-c", "SELECT CURRENT_USER() AS u, CURRENT_ROLE() AS r")
		return out, err
	}
	if out, err := who(); err != nil || out != "u,r\no'brien,service\n" {
		t.Errorf("with the key: %q, %v", out, err)
	}
	if out := must("keys", "list"); !strings.Contains(out, id) || !strings.Contains(out, "nightly") || strings.Contains(out, key) {
		t.Errorf("keys list: %s", out)
	}
	must("keys", "revoke", id)
	if _, err := who(); err == nil || !strings.HasPrefix(err.Error(), "UNAUTHENTICATED: ") {
		t.Errorf("with the key that was revoked: %v", err)
	}
	must("users", "drop", "o'brien")
	for _, bad := range []string{"users create", "users set nobody", "users set nobody --role dba", "users drop nobody", "keys create k", "keys create k --for a --ttl 1s", "keys revoke x", "keys lst"} {
		if _, err := run(strings.Fields(bad)...); err == nil {
			t.Errorf("%s is no error", bad)
		}
	}
}
