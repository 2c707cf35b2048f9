package server

import (
	"testing"
	"time"

	"kalamdb/auth"
	"kalamdb/client"
)

// keyClient makes an API key and a client that uses it.
func (r *real) keyClient(root *client.Client, sql string) (id string, c *client.Client) {
	r.t.Helper()
	results, err := root.Exec(r.t.Context(), sql)
	if err != nil {
		r.t.Fatal(err)
	}
	row := results[0].Rows[0]
	c = client.New(r.url, row["api_key"].(string))
	r.t.Cleanup(c.Close)
	return row["key_id"].(string), c
}

// A key is a token: for requests and for sockets, until it is dropped.
func TestAPIKeyIsRevokedAtOnce(t *testing.T) {
	r := startReal(t)
	root := r.client("root", auth.DBA)
	r.must(root, createMessages)
	id, service := r.keyClient(root, "CREATE API KEY 'a' FOR USER 'bot'")
	_, other := r.keyClient(root, "CREATE API KEY 'b' FOR USER 'bot' WITH (role = 'user')")
	const who = "SELECT CURRENT_USER() AS u, CURRENT_ROLE() AS r"
	if got := r.must(service, who) + r.must(other, who); got != `{"r":"service","u":"bot"}{"r":"user","u":"bot"}` {
		t.Error(got)
	}
	ended, stays := r.watch(service), r.watch(other)
	r.must(root, "DROP API KEY '"+id+"'")
	if status, code := r.status(service, "SELECT 1"); status != 401 || code != "UNAUTHENTICATED" {
		t.Errorf("after DROP API KEY: %d %s", status, code)
	}
	if reason, _ := ended(); reason != endedByAuth {
		t.Errorf("its socket: %s", reason)
	}
	if status, code := r.status(other, "SELECT 1"); status != 200 {
		t.Errorf("the other key: %d %s", status, code)
	}
	r.must(root, "CREATE USER 'bot'; DROP USER 'bot'")
	if reason, _ := stays(); reason != endedByAuth {
		t.Errorf("the socket of the other key after DROP USER: %s", reason)
	}
	if status, _ := r.status(other, "SELECT 1"); status != 401 {
		t.Errorf("the other key after DROP USER: %d", status)
	}
}

// A connection may be handed a key in the place of its token, of the same user and role.
func TestRenewWithAPIKey(t *testing.T) {
	r := startReal(t)
	root := r.client("root", auth.DBA)
	r.must(root, createMessages)
	results, err := root.Exec(t.Context(), "CREATE API KEY 'a' FOR USER 'bot' WITH (role = 'user', ttl = '1 hour')")
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.verify(results[0].Rows[0]["api_key"].(string))
	if err != nil || p.User != "bot" || p.Role != auth.User || time.Until(p.Expires) > time.Hour {
		t.Fatalf("%+v, %v", p, err)
	}
	x := &session{renewed: make(chan struct{}, 1), who: auth.Principal{User: "bot", Role: auth.User}}
	if err := r.renew(x, results[0].Rows[0]["api_key"].(string)); err != nil || x.principal().Key == "" {
		t.Errorf("renew: %v", err)
	}
	y := &session{renewed: make(chan struct{}, 1), who: auth.Principal{User: "ana", Role: auth.User}}
	if err := r.renew(y, results[0].Rows[0]["api_key"].(string)); err == nil {
		t.Error("the connection of another user was renewed with the key")
	}
}
