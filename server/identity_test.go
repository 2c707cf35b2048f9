package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamdb/auth"
	"kalamdb/client"
)

// status is that of a request of c.
func (r *real) status(c *client.Client, sql string) (int, string) {
	r.t.Helper()
	_, err := c.Exec(r.t.Context(), sql)
	var e *client.Error
	switch {
	case err == nil:
		return http.StatusOK, ""
	case errors.As(err, &e):
		return e.Status, e.Code
	}
	r.t.Fatal(err)
	return 0, ""
}

// watch opens a live query and returns a function that waits for its end.
func (r *real) watch(c *client.Client) (ended func() (reason string, after time.Duration)) {
	r.t.Helper()
	stream, err := c.Subscribe(r.t.Context(), client.Spec{QueryID: "m", SQL: "SELECT * FROM app.messages"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = stream.Close() }) // ended by the server already
	if e, err := stream.Next(); err != nil || e.Type != client.TypeSubscribed {
		r.t.Fatalf("event %+v, %v", e, err)
	}
	return func() (string, time.Duration) {
		start, reason := time.Now(), ""
		for {
			e, err := stream.Next()
			var closed *client.ClosedError
			if errors.As(err, &closed) {
				return fmt.Sprintf("%s %d %s", reason, closed.Code, closed.Reason), time.Since(start)
			}
			if err != nil {
				return err.Error(), time.Since(start)
			}
			reason = e.Reason
		}
	}
}

const endedByAuth = "auth_expired 1008 auth_expired"

func TestARowOverridesTheToken(t *testing.T) {
	r := startReal(t)
	root, ana, ben := r.client("root", auth.DBA), r.client("ana", auth.User), r.client("ben", auth.DBA)
	r.must(root, createMessages)
	if got := r.must(ana, "SELECT CURRENT_ROLE() AS r"); got != `{"r":"user"}` {
		t.Error(got)
	}
	ended := r.watch(ana)
	stays := r.watch(ben)
	r.must(root, "CREATE USER 'ana' WITH (role = 'dba'); CREATE USER 'ben' WITH (role = 'dba')")
	if got := r.must(ana, "SELECT CURRENT_ROLE() AS r"); got != `{"r":"dba"}` {
		t.Errorf("up: %s", got)
	}
	if reason, after := ended(); reason != endedByAuth || after > time.Second {
		t.Errorf("the socket of ana, whose role has changed: %s after %v", reason, after)
	}
	r.must(root, "UPDATE system.users SET role = 'user' WHERE user_id = 'ben'")
	if status, code := r.status(ben, "CREATE NAMESPACE x"); status != 403 || code != "FORBIDDEN" {
		t.Errorf("down: %d %s", status, code)
	}
	if reason, after := stays(); reason != endedByAuth || after > time.Second {
		t.Errorf("the socket of ben: %s after %v", reason, after)
	}
	again := r.watch(ben)
	r.must(root, "ALTER USER 'ben' SET (username = 'Ben'); INSERT INTO system.users (user_id) VALUES ('cy')")
	r.must(ben, "INSERT INTO app.messages (text) VALUES ('still there')")
	r.must(root, "DROP USER 'ben'")
	if reason, _ := again(); reason != endedByAuth {
		t.Errorf("a change without a new role, then the end: %s", reason)
	}
}

func TestAnEndedUserIsOut(t *testing.T) {
	r := startReal(t)
	root, old := r.client("root", auth.DBA), r.client("ana", auth.User)
	r.must(root, createMessages)
	r.must(root, "CREATE USER 'ana'")
	r.must(old, "INSERT INTO app.messages (text) VALUES ('mine')")
	ended := r.watch(old)
	r.must(root, "DELETE FROM system.users WHERE user_id = 'ana'")
	if status, code := r.status(old, "SELECT 1"); status != 401 || code != "UNAUTHENTICATED" {
		t.Errorf("%d %s", status, code)
	}
	if _, err := old.Subscribe(t.Context(), client.Spec{QueryID: "m", SQL: "SELECT * FROM app.messages"}); err == nil || !strings.Contains(err.Error(), "UNAUTHENTICATED") {
		t.Errorf("a new socket: %v", err)
	}
	if reason, after := ended(); reason != endedByAuth || after > time.Second {
		t.Errorf("%s after %v", reason, after)
	}
	fresh := r.client("ana", auth.User) // a token from after the deletion
	if got := r.must(fresh, "SELECT text FROM app.messages"); got != `{"text":"mine"}` {
		t.Errorf("the new token sees %s", got)
	}
	r.must(root, "CREATE USER 'ana' WITH (role = 'service')")
	if status, _ := r.status(old, "SELECT 1"); status != 401 {
		t.Errorf("the old token lives again: %d", status)
	}
	if got := r.must(fresh, "SELECT CURRENT_ROLE() AS r"); got != `{"r":"service"}` {
		t.Error(got)
	}
	if status, _ := r.status(root, "DROP USER 'root'"); status != 400 {
		t.Errorf("root has no row: %d", status)
	}
}

// Sockets that open while their user ends are ended too, whichever comes first.
func TestSocketsRacingTheEnd(t *testing.T) {
	r := startReal(t)
	root := r.client("root", auth.DBA)
	r.must(root, createMessages)
	for range 20 {
		r.must(root, "CREATE USER 'ana'")
		c := r.client("ana", auth.User)
		streams := make([]*client.Stream, 4)
		var wg sync.WaitGroup
		for i := range streams {
			wg.Go(func() {
				s, err := c.Subscribe(t.Context(), client.Spec{QueryID: "m", SQL: "SELECT * FROM app.messages"})
				if err == nil {
					streams[i] = s
				}
			})
		}
		r.must(root, "DROP USER 'ana'")
		wg.Wait()
		for _, s := range streams {
			if s == nil {
				continue
			}
			late := time.AfterFunc(5*time.Second, func() { _ = s.Close() })
			for {
				_, err := s.Next()
				var closed *client.ClosedError
				if errors.As(err, &closed) && closed.Code == 1008 {
					break
				}
				if err != nil {
					t.Fatalf("the socket did not end by itself: %v", err)
				}
			}
			late.Stop()
			_ = s.Close() // ended by the server already
		}
	}
}

func TestExecuteAsOverHTTP(t *testing.T) {
	r := startReal(t)
	root, svc, ana := r.client("root", auth.DBA), r.client("svc", auth.Service), r.client("ana", auth.User)
	r.must(root, createMessages)
	if _, err := svc.Exec(t.Context(), "EXECUTE AS USER 'ana' (INSERT INTO app.messages (text) VALUES ($1))", "for her"); err != nil {
		t.Fatal(err)
	}
	if got := r.must(ana, "SELECT text FROM app.messages"); got != `{"text":"for her"}` {
		t.Error(got)
	}
	token, err := auth.Sign(r.db.Secret(), auth.Principal{User: "svc", Role: auth.Service}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"sql":"EXECUTE AS USER 'ana' (SELECT text, CURRENT_USER() AS u FROM app.messages)"}`
	a := r.do(t, "POST", "/api/sql", body, "Content-Type: application/json", "Accept: application/x-ndjson", "Authorization: Bearer "+token, "X-Request-Id: req-7")
	if a.status != 200 || strings.TrimSpace(a.body) != `{"text":"for her","u":"ana"}` {
		t.Errorf("streamed: %d %s", a.status, a.body)
	}
	a = r.do(t, "POST", "/api/sql", `{"sql":"EXECUTE AS USER 'ana' (DELETE FROM app.messages)"}`, "Content-Type: application/json", "Accept: application/x-ndjson", "Authorization: Bearer "+token)
	if a.status != 400 || r.must(ana, "SELECT count(*) AS n FROM app.messages") != `{"n":1}` {
		t.Errorf("a DELETE was streamed: %d %s", a.status, a.body)
	}
	got := r.must(root, "SELECT user_id, as_user, request_id, remote LIKE '127.0.0.1:%' AS here FROM system.audit ORDER BY time DESC LIMIT 1")
	if got != `{"as_user":"ana","here":true,"request_id":"req-7","user_id":"svc"}` {
		t.Errorf("the audit log has %s", got)
	}
	if got := r.must(root, "SELECT count(*) AS n FROM system.audit"); got != `{"n":2}` {
		t.Errorf("the audit log has %s entries, expected those that ran", got)
	}
}

// Who comes without a token in dev mode is looked up as well.
func TestDevUserHasHisRow(t *testing.T) {
	f := &fakeDB{exec: nil, identify: func(p auth.Principal) (auth.Principal, error) {
		if p.Issued.IsZero() || time.Since(p.Issued) > time.Minute {
			t.Errorf("%s is as old as %v", p.User, p.Issued)
		}
		return auth.Principal{}, errors.New("asked for " + string(p.User))
	}}
	s := start(t, f, Options{Dev: true})
	for header, want := range map[string]string{"X-User-Id: ana": "ana", "X-Other: 1": "root"} {
		s.do(t, "POST", "/api/sql", `{"sql":"SELECT 1"}`, jsonBody, header)
		if !strings.Contains(s.log.String(), "asked for "+want) {
			t.Errorf("%s: %s", header, s.log.String())
		}
	}
}
