package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSelect(t *testing.T) {
	rows := `{"id":9007199254740991,"f":1.5,"at":"2026-01-02T03:04:05.123456Z","b":"AQI=","name":null}, {"id":"9223372036854775807","f":"-Infinity","at":null,"b":null,"name":"x"}`
	c := serve(t, "", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"status":"success","results":[{"statement":"SELECT","rows":[%s]}]}`, rows)
	})
	type wide struct {
		ID   Int64 `json:"id"`
		F    Float64
		At   *time.Time
		B    []byte
		Name *string
	}
	x, at := "x", time.Date(2026, 1, 2, 3, 4, 5, 123456000, time.UTC)
	want := []wide{{9007199254740991, 1.5, &at, []byte{1, 2}, nil}, {math.MaxInt64, Float64(math.Inf(-1)), nil, nil, &x}}
	if got, err := Select[wide](t.Context(), c, "SELECT"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := Select[struct{ Name int }](t.Context(), c, "SELECT"); err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("error %v", err)
	}
	rows = ""
	if got, err := Select[wide](t.Context(), c, "SELECT"); err != nil || got == nil || len(got) != 0 {
		t.Errorf("no rows: %+v, %v", got, err)
	}
	rows = `{"id":"no"}`
	if _, err := Select[wide](t.Context(), c, "SELECT"); err == nil || !strings.Contains(err.Error(), "no BIGINT") {
		t.Errorf("error %v", err)
	}
}

func TestTokenSource(t *testing.T) {
	var valid, asked atomic.Int64
	c := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer %d", valid.Load()) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"status":"success","results":[{"statement":"SELECT"}]}`)
	})
	c.TokenSource = func(context.Context) (string, error) { return fmt.Sprint(asked.Add(1)), nil }
	for valid.Store(1); valid.Load() < 4; valid.Add(1) {
		for range 2 {
			if _, err := c.Exec(t.Context(), "SELECT 1"); err != nil {
				t.Fatal(err)
			}
		}
		if asked.Load() != valid.Load() {
			t.Errorf("%d tokens asked for, %d needed", asked.Load(), valid.Load())
		}
	}
	valid.Store(100) // no token is good
	var refused *Error
	if _, err := c.Exec(t.Context(), "SELECT 1"); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("error %v", err)
	}
	broken := errors.New("the login is down")
	c.TokenSource = func(context.Context) (string, error) { return "", broken }
	if _, err := c.Exec(t.Context(), "SELECT 1"); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}
