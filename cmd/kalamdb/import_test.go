package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// An importRig is a server with a table, and files to import.
type importRig struct {
	t        *testing.T
	dir      string
	dataDir  string
	url      string
	importTo string // where imports go, url unless a test puts something in between
}

func newImportRig(t *testing.T, definitions string) *importRig {
	t.Helper()
	cfg := testConfig(t)
	url, _ := serve(t, cfg)
	r := &importRig{t: t, dir: t.TempDir(), dataDir: cfg.DataDir, url: url, importTo: url}
	r.sql("CREATE NAMESPACE app; " + definitions)
	return r
}

// sql runs statements and gives what they print as CSV.
func (r *importRig) sql(text string) string {
	r.t.Helper()
	out, _, err := commandLine(r.t, "", "sql", "--url", r.url, "--data-dir", r.dataDir, "--format", "csv", "-c", text)
	if err != nil {
		r.t.Fatalf("%s: %v", text, err)
	}
	return out
}

func (r *importRig) imp(args ...string) (out, log string, err error) {
	r.t.Helper()
	return commandLine(r.t, "", append([]string{"import", "--url", r.importTo, "--data-dir", r.dataDir}, args...)...)
}

// file writes a file.
func (r *importRig) file(name, text string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// What EXPORT writes of every type is the same table again, from each format.
func TestImportGivesBackWhatWasExported(t *testing.T) {
	const definition = `(id BIGINT PRIMARY KEY, b BOOLEAN, s SMALLINT, i INT, f FLOAT, d DOUBLE, m DECIMAL(38,10), t TEXT, bl BLOB,
		da DATE, ti TIME, ts TIMESTAMP, j JSON, u UUID, l TEXT[], n INT[], e EMBEDDING(3))`
	r := newImportRig(t, "CREATE USER TABLE app.a "+definition)
	r.sql(`INSERT INTO app.a VALUES
		(1, true, -32768, 2147483647, 0.1, 1e300, 1234567890123456789012345678.0123456789, 'ä "x", ''y''' || chr(10) || 'z', from_base64('AP8='),
		 '2026-02-28', '23:59:59.999999', '2026-01-02 03:04:05.000006', '{"a":[1,"x",null]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', ['p', NULL, 'q,"r'], [1, NULL, -3], [0.5, -1, 3e7]),
		(9007199254740993, false, 0, 0, 'NaN', '-Infinity', 0, '', ''::BLOB, '0001-01-01', '00:00:00', '1969-12-31 23:59:59.999999', '"text"', NULL, [], [], NULL),
		(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`)
	for _, name := range []string{"rows.parquet", "rows.csv", "rows.ndjson"} {
		table := "app." + strings.TrimPrefix(name, "rows.")
		r.sql("CREATE USER TABLE " + table + " " + definition)
		file := filepath.Join(r.dataDir, "transfer", name)
		r.sql("EXPORT (SELECT * FROM app.a ORDER BY id) TO '" + file + "'")
		out, log, err := r.imp(file, "--table", table)
		if err != nil || !strings.HasPrefix(out, "3 rows imported into "+table) {
			t.Fatalf("%s: %q %q %v", name, out, log, err)
		}
		const columns = "* EXCLUDE (_updated, _deleted)"
		want := r.sql("SELECT " + columns + " FROM app.a ORDER BY id")
		if got := r.sql("SELECT " + columns + " FROM " + table + " ORDER BY id"); got != want {
			t.Errorf("%s:\n%s\nexpected\n%s", name, got, want)
		}
		if out, _, err = r.imp(file, "--table", table); err != nil || !strings.HasPrefix(out, "0 rows imported") {
			t.Errorf("%s again: %q %v", name, out, err)
		}
	}
}

// A bad row is reported by its line and ends the import there, or is put aside.
func TestImportBadRows(t *testing.T) {
	r := newImportRig(t, "CREATE USER TABLE app.csv (id BIGINT PRIMARY KEY, n INT NOT NULL, t TEXT); CREATE USER TABLE app.json (id BIGINT PRIMARY KEY, n INT NOT NULL, t TEXT)")
	for _, x := range []struct {
		name, text string
		lines      []string // of bad rows, with the reason's beginning
		want       string
		fixed      string
	}{
		{"csv", "\uFEFFid,t,n\n1,\"two\nlines\",1\n\n2,x,no number\n3,x\n3,x,3\n3,again,4\n4,x,\n5,a\"b,5\n6,\"\",6\n7,\xff,7\n8,,99999999999\n9,x,9",
			[]string{"line 5: INVALID_VALUE: ", "line 6: it has 2 fields, expected 3", "line 8: DUPLICATE_KEY: ", "line 9: NOT_NULL_VIOLATION: ", `line 10: column 4: bare "`, "line 12: column t: it is not UTF-8", "line 13: INVALID_VALUE: "},
			"id,n,t\n1,1,\"two\nlines\"\n3,3,x\n6,6,<>\n9,9,x\n", "no number"},
		{"json", "{\"id\":1,\"n\":1,\"t\":\"two\\nlines\"}\n\n{\"id\":2,\"n\":\"no number\"}\n{\"id\":3,\"n\":3,\"t\":\"x\"}\n{\"id\":3,\"n\":4}\n{\"id\":4,\"n\":null}\n{\"id\":5,\n[1]\nnull\n{\"id\":6,\"n\":6,\"t\":\"\"}\n{\"id\":7,\"N\":7,\"z\":1}\n{\"n\":8}\n{\"ID\":9,\"n\":9,\"t\":\"x\"}",
			[]string{"line 3: INVALID_VALUE: ", "line 5: DUPLICATE_KEY: ", "line 6: NOT_NULL_VIOLATION: ", "line 7: unexpected end", "line 8: it is no JSON object", "line 9: it is no JSON object", "line 11: unknown column of app.json z", "line 12: NOT_NULL_VIOLATION: "},
			"id,n,t\n1,1,\"two\nlines\"\n3,3,x\n6,6,<>\n9,9,x\n", "no number"},
	} {
		t.Run(x.name, func(t *testing.T) {
			const query = "SELECT id, n, CASE WHEN t = '' THEN '<>' ELSE t END AS t FROM app."
			file := r.file("rows."+x.name, x.text)
			_, _, err := r.imp(file, "--table", "app."+x.name)
			if err == nil || !strings.HasPrefix(err.Error(), x.lines[0]) || !strings.Contains(err.Error(), "1 row imported so far, up to line ") {
				t.Fatalf("the first bad row: %v", err)
			}
			if got, want := r.sql("SELECT id FROM app."+x.name), "id\n1\n"; got != want {
				t.Errorf("rows before the bad one: %q", got)
			}
			bad := filepath.Join(r.dir, "bad."+x.name)
			if _, _, err := r.imp(file, "--table", "app."+x.name, "--bad-rows", bad, "--max-bad", "2"); err == nil || !strings.HasPrefix(err.Error(), x.lines[2]) {
				t.Errorf("the third bad row: %v", err)
			}
			out, log, err := r.imp(file, "--table", "app."+x.name, "--bad-rows", bad)
			if err != nil || !strings.Contains(out, fmt.Sprintf(", %d bad rows (4 with the runs before)", len(x.lines))) {
				t.Fatalf("%q %q %v", out, log, err)
			}
			if got := r.sql(query + x.name + " ORDER BY id"); got != x.want {
				t.Errorf("rows:\n%s\nexpected\n%s", got, x.want)
			}
			text, err := os.ReadFile(bad)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
			if len(lines) != len(x.lines) {
				t.Fatalf("%d bad rows:\n%s\nexpected %d", len(lines), text, len(x.lines))
			}
			for i, line := range lines {
				var b badRow
				if err := json.Unmarshal([]byte(line), &b); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				if got := fmt.Sprintf("line %d: %s", b.Line, b.Error); !strings.HasPrefix(got, x.lines[i]) || b.Raw == "" {
					t.Errorf("bad row %s, expected %s", line, x.lines[i])
				}
			}
			r.file("rows."+x.name, strings.Replace(x.text, x.fixed, "2", 1))
			if _, _, err := r.imp(file, "--table", "app."+x.name); err == nil || !strings.Contains(err.Error(), "--restart begins anew") {
				t.Errorf("a file that has changed: %v", err)
			}
		})
	}
}

// A correction of the row at which an import ended, and lines that are added later, are
// all that the same command sends then.
func TestImportGoesOn(t *testing.T) {
	r := newImportRig(t, "CREATE USER TABLE app.t (n INT NOT NULL)")
	file := r.file("rows.csv", "n\n1\n2\nthree\n4\n")
	if _, _, err := r.imp(file, "--table", "app.t"); err == nil || !strings.HasPrefix(err.Error(), "line 4: ") {
		t.Fatalf("a bad row: %v", err)
	}
	r.file("rows.csv", "n\n1\n2\n3\n4\n")
	if out, _, err := r.imp(file, "--table", "app.t"); err != nil || !strings.HasPrefix(out, "2 rows imported") {
		t.Fatalf("after the correction: %q %v", out, err)
	}
	r.file("rows.csv", "n\n1\n2\n3\n4\n5\n6\n")
	if out, _, err := r.imp(file, "--table", "app.t"); err != nil || !strings.HasPrefix(out, "2 rows imported") || !strings.Contains(out, "(6 with the runs before)") {
		t.Fatalf("after two more lines: %q %v", out, err)
	}
	if got := r.sql("SELECT string_agg(n, ' ' ORDER BY n) AS n FROM app.t"); got != "n\n1 2 3 4 5 6\n" {
		t.Errorf("rows %q", got)
	}
	if _, _, err := r.imp(file, "--table", "app.other"); err == nil || !strings.HasPrefix(err.Error(), "TABLE_NOT_FOUND") {
		t.Errorf("no table: %v", err)
	}
}

// between forwards requests to the server. fate says of an INSERT whether it reaches the
// server and whether its answer comes back.
func (r *importRig) between(fate func() (reaches, answers bool)) {
	h := func(w http.ResponseWriter, in *http.Request) {
		body, err := io.ReadAll(in.Body)
		if err != nil {
			return // the client has gone
		}
		reaches, answers := true, true
		if bytes.Contains(body, []byte("INSERT")) {
			reaches, answers = fate()
		}
		if !reaches {
			panic(http.ErrAbortHandler)
		}
		out, err := http.NewRequest(in.Method, r.url+in.URL.Path, bytes.NewReader(body))
		if err != nil {
			r.t.Error(err)
			return
		}
		out.Header = in.Header
		reply, err := http.DefaultClient.Do(out)
		if err != nil {
			r.t.Error(err)
			return
		}
		defer reply.Body.Close()
		if !answers {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(reply.StatusCode)
		_, _ = io.Copy(w, reply.Body) // the client may have gone
	}
	s := httptest.NewServer(http.HandlerFunc(h))
	r.t.Cleanup(func() {
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	r.importTo = s.URL
}

// With a key every row arrives once, whatever is lost on the way; the duplicates that
// the file has are still found.
func TestImportLosesAndDoublesNothing(t *testing.T) {
	r := newImportRig(t, "CREATE USER TABLE app.t (a INT, b TEXT, n INT, PRIMARY KEY (a, b))")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	r.between(func() (bool, bool) { return chance.IntN(8) > 0, chance.IntN(3) > 0 })
	const rows = 300
	var text strings.Builder
	for i := range rows {
		fmt.Fprintf(&text, "{\"a\":%d,\"b\":\"x%d\",\"n\":1}\n", i/7, i)
		if i == 100 {
			text.WriteString("{\"a\":0,\"b\":\"x3\",\"n\":2}\n")
		}
	}
	file := r.file("rows.ndjson", text.String())
	out, log, err := r.imp(file, "--table", "app.t", "--batch-rows", "25", "--bad-rows", filepath.Join(r.dir, "bad"))
	if err != nil || !strings.HasPrefix(out, "300 rows imported") || !strings.Contains(log, "line 102: DUPLICATE_KEY") {
		t.Fatalf("%q %v\n%s", out, err, log)
	}
	if got := r.sql("SELECT count(*) AS c, sum(n) AS s FROM app.t"); got != "c,s\n300,300\n" {
		t.Errorf("rows %q", got)
	}
}

// An import that is cut off while a batch is on its way goes on with that batch: it knows
// by the keys whether the batch has arrived, and asks where there are none.
func TestImportCutOff(t *testing.T) {
	r := newImportRig(t, "CREATE USER TABLE app.keys (id INT PRIMARY KEY); CREATE USER TABLE app.none (id INT)")
	for _, x := range []struct {
		table            string
		reaches, answers bool
		inFlight         string
		want             int
	}{
		{"keys", true, false, "", 60}, {"keys", false, false, "", 60},
		{"none", true, false, "skip", 60}, {"none", false, false, "again", 60},
		{"none", true, false, "again", 70}, {"none", false, false, "skip", 50},
	} {
		t.Run(fmt.Sprintf("%s %t %s", x.table, x.reaches, x.inFlight), func(t *testing.T) {
			r.sql("DELETE FROM app." + x.table)
			var n atomic.Int64
			r.between(func() (bool, bool) {
				if n.Add(1) == 3 {
					return x.reaches, x.answers
				}
				return true, true
			})
			var text strings.Builder
			for i := range 60 {
				fmt.Fprintf(&text, "{\"id\":%d}\n", i)
			}
			file := r.file("rows.ndjson", text.String())
			state := filepath.Join(r.dir, fmt.Sprintf("state-%s-%t-%s", x.table, x.reaches, x.inFlight))
			run := func(more ...string) error {
				_, _, err := r.imp(append([]string{file, "--table", "app." + x.table, "--batch-rows", "10", "--state", state}, more...)...)
				return err
			}
			if err := run(); x.table == "none" {
				if err == nil || !strings.Contains(err.Error(), "lines 21 to 30 were on their way and nobody knows whether they arrived") {
					t.Fatalf("the first run: %v", err)
				}
				if err := run(); err == nil || !strings.Contains(err.Error(), "lines 21 to 30") {
					t.Fatalf("the second run: %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if x.inFlight != "" {
				if err := run("--in-flight", x.inFlight); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.sql("SELECT count(*) AS c FROM app." + x.table); got != fmt.Sprintf("c\n%d\n", x.want) {
				t.Errorf("rows %q, expected %d", got, x.want)
			}
		})
	}
}

// Rows of a Parquet file have numbers for lines.
func TestImportGoesOnInParquet(t *testing.T) {
	r := newImportRig(t, "CREATE USER TABLE app.from (id INT PRIMARY KEY, n INT); CREATE USER TABLE app.into (id INT PRIMARY KEY, n INT NOT NULL)")
	r.sql("INSERT INTO app.from SELECT i, CASE WHEN i IN (31, 32) THEN NULL ELSE i END FROM range(1, 5001) AS r(i)")
	file := filepath.Join(r.dataDir, "transfer", "rows.parquet")
	r.sql("EXPORT (SELECT n, id, 1 AS _seq FROM app.from ORDER BY id) TO '" + file + "'")
	_, _, err := r.imp(file, "--table", "app.into", "--batch-rows", "100")
	if err == nil || !strings.HasPrefix(err.Error(), "row 31: NOT_NULL_VIOLATION") || !strings.Contains(err.Error(), "30 rows imported so far, up to row 30;") {
		t.Fatalf("a bad row: %v", err)
	}
	bad := filepath.Join(r.dir, "bad")
	if out, _, err := r.imp(file, "--table", "app.into", "--bad-rows", bad); err != nil || !strings.HasPrefix(out, "4968 rows imported") || !strings.Contains(out, "2 bad rows (4998 with the runs before)") {
		t.Fatalf("%q %v", out, err)
	}
	if got := r.sql("SELECT count(*) AS c, sum(n) AS s FROM app.into"); got != "c,s\n4998,12502437\n" {
		t.Errorf("rows %q", got)
	}
	if text, err := os.ReadFile(bad); err != nil || !strings.Contains(string(text), `{"line":32,"error":"NOT_NULL_VIOLATION: column n must not be NULL","values":[32,null]}`) {
		t.Errorf("bad rows %s %v", text, err)
	}
	other := r.file("rows.txt", "x")
	for _, x := range []struct{ file, args, want string }{
		{other, "", `"txt" is no format that can be imported`},
		{other, "--format parquet", "rows.txt: "},
		{file, "--delimiter ;", "--delimiter is for CSV"},
		{other, "--format csv --no-header --columns n,nn", "unknown column of app.into nn"},
		{other, "--format csv --no-header --columns id,n,n", "the file has the column n twice"},
		{other, "--format csv", "unknown column of app.into x"},
		{other, "--format csv --delimiter ab", "is not one character"},
		{file, "--batch-rows 0", "--batch-rows 0 is not from 1 to 10000"},
		{file, "--in-flight no", `--in-flight "no" is neither again nor skip`},
		{filepath.Join(r.dir, "none.csv"), "", "no such file"},
		{r.dir, "--format csv", "is no regular file"},
	} {
		args := append([]string{x.file, "--table", "app.into", "--state", filepath.Join(r.dir, "s")}, strings.Fields(x.args)...)
		if _, _, err := r.imp(args...); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s %s: %v, expected %s", x.file, x.args, err, x.want)
		}
	}
}
