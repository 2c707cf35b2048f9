package main

import (
	"path/filepath"
	"testing"

	"kalamdb/auth"
)

// TestIdentify is about who a client command acts as, and that a token of this
// machine's secret never goes to another machine.
func TestIdentify(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, _, err := commandLine(t, "", "token", "--user", "x", "--data-dir", dir); err != nil {
		t.Fatal(err) // makes the secret
	}
	secret, err := auth.LoadOrCreateSecret(filepath.Join(dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.NewVerifier(auth.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	const here, elsewhere = "http://127.0.0.1:8080", "https://db.example.com"
	for _, c := range []struct {
		name                       string
		url, token, user, env      string
		dataDir                    string
		wantToken, wantDev, minted string
	}{
		{name: "token", url: here, token: "given", env: "ignored", dataDir: dir, wantToken: "given"},
		{name: "environment", url: elsewhere, env: "exported", dataDir: dir, wantToken: "exported"},
		{name: "operator here", url: here, dataDir: dir, minted: "root/dba"},
		{name: "operator at localhost", url: "http://localhost:1", dataDir: dir, minted: "root/dba"},
		{name: "user here", url: "http://[::1]:1", user: "ana", env: "another's", dataDir: dir, minted: "ana/user"},
		{name: "operator elsewhere", url: elsewhere, dataDir: dir},
		{name: "user elsewhere", url: elsewhere, user: "ana", dataDir: dir, wantDev: "ana"},
		{name: "no secret", url: here, user: "ana", dataDir: t.TempDir(), wantDev: "ana"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("KALAMDB_TOKEN", c.env)
			command := newSQL()
			if err := command.Flags().Set("data-dir", c.dataDir); err != nil {
				t.Fatal(err)
			}
			who, err := (&target{url: c.url, token: c.token, user: c.user}).identify(command)
			if err != nil {
				t.Fatal(err)
			}
			if c.minted != "" {
				p, err := verifier.Verify(who.token)
				if got := string(p.User) + "/" + p.Role.String(); err != nil || got != c.minted {
					t.Errorf("a token of %s, %v, expected %s", got, err, c.minted)
				}
				return
			}
			if who.token != c.wantToken || who.devUser != c.wantDev {
				t.Errorf("identity %+v, expected token %q, user %q", who, c.wantToken, c.wantDev)
			}
		})
	}
}
