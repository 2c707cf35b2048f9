package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"kalamdb"
)

var requestSeeds = []string{
	`{"sql":"SELECT 1"}`, `{"sql":"a\n\u00e9\ud83d\ude00","params":[1,-2.5e3,null,true,"x",[1,{"a":"b"}]],"namespace":"n"}`,
	`{"sql":"x","params":[01]}`, `{"sql":"\ud800"}`, `{"sql":"x"}{}`, `{"sql":"x",}`, "{\"sql\":\"\xff\"}", `[[[[`, `{"a":{"b":[`, `{"sql":"x","params":[1e999]}`, "\ufeff{}",
}

// What the strict reader takes, encoding/json takes too and reads the same; what
// encoding/json takes and the reader does not has one of the faults it looks for.
func FuzzRequest(f *testing.F) {
	for _, s := range requestSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := bytes.Clone(b)
		q, err := parseRequest(b)
		if !bytes.Equal(whole, b) {
			t.Fatal("the input changed")
		}
		var want struct {
			SQL       *string `json:"sql"`
			Params    []any   `json:"params"`
			Namespace string  `json:"namespace"`
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		d.DisallowUnknownFields()
		wantErr := d.Decode(&want)
		if _, tail := d.Token(); wantErr == nil && tail != io.EOF {
			wantErr = errors.New("more data")
		}
		if err != nil {
			var e *kalamdb.Error
			if !errors.As(err, &e) || e.Position > len(b) || e.Message == "" || statusOf(e.Code)/100 != 4 {
				t.Fatalf("error %v (%T)", err, err)
			}
			return
		}
		if wantErr != nil {
			t.Fatalf("accepted %q; encoding/json says %v", b, wantErr)
		}
		if want.SQL == nil || q.SQL != *want.SQL || q.Namespace != want.Namespace || len(q.Params) != len(want.Params) {
			t.Fatalf("read %q as %+v", b, q)
		}
		for i, v := range want.Params {
			if s, ok := v.(string); ok && q.Params[i].Str() != s {
				t.Fatalf("param %d of %q is %q", i, b, q.Params[i].Str())
			}
		}
	})
}

func FuzzFrame(f *testing.F) {
	for _, s := range append(requestSeeds,
		`{"type":"ping"}`, `{"type":"subscribe","subscriptions":[{"query_id":"m","sql":"SELECT 1","options":{"last_rows":100,"from_seq":123,"batch_rows":1000}}]}`,
		`{"type":"unsubscribe","query_id":"m"}`, `{"token":"x","type":"auth"}`, `{"type":"subscribe","subscriptions":[1,{"query_id":1},{}]}`) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := parseFrame(b)
		if err == nil && !json.Valid(b) {
			t.Fatalf("accepted %q", b)
		}
		if err != nil {
			if reply := errorFrame(frame.queryID, asError(err)); !json.Valid(reply) {
				t.Fatalf("reply %s to %q", reply, b)
			}
			return
		}
		for _, spec := range frame.subscriptions {
			if spec.err == nil && (spec.queryID == "" || spec.request.SQL == "" || spec.request.QueryID != spec.queryID) {
				t.Fatalf("%q became %+v", b, spec)
			}
			if spec.err != nil && !json.Valid(errorFrame(spec.queryID, asError(spec.err))) {
				t.Fatalf("reply to %q", b)
			}
		}
	})
}

// The decoder must not keep the pooled buffer of the body.
func TestRequestSharesNoMemory(t *testing.T) {
	b := []byte(`{"sql":"SELECT 1","params":["text",[1,"list"]],"namespace":"app"}`)
	q, err := parseRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = '#'
	}
	if q.SQL != "SELECT 1" || q.Namespace != "app" || q.Params[0].Str() != "text" || q.Params[1].Str() != `[1,"list"]` {
		t.Errorf("%+v", q)
	}
}

func TestDeepNestingIsRefusedNotFatal(t *testing.T) {
	for _, open := range []string{"[", `{"a":`} {
		_, err := parseRequest([]byte(`{"sql":"x","params":` + strings.Repeat(open, 200_000)))
		if err == nil {
			t.Errorf("200,000 × %s is accepted", open)
		}
	}
}
