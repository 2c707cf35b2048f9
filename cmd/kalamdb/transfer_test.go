package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTransferCommands(t *testing.T) {
	r := newImportRig(t, "CREATE SHARED TABLE app.t (id INT PRIMARY KEY, x TEXT); CREATE USER TABLE app.mine (id INT PRIMARY KEY); INSERT INTO app.t VALUES (1, 'a''b'), (2, NULL)")
	r.sql("INSERT INTO app.mine VALUES (1)")
	to := filepath.Join(r.dataDir, "transfer")
	command := func(args ...string) (string, error) {
		t.Helper()
		out, _, err := commandLine(t, "", append(args, "--url", r.url, "--data-dir", r.dataDir)...)
		return out, err
	}
	for _, x := range []struct{ args, want, refused string }{
		{"export|SELECT x FROM app.t ORDER BY id; |--to|" + to + "/rows.txt|--format|json", "rows.txt", ""},
		{"export|--rows-of|root|--to|" + to + "/root/", "app/mine.parquet", ""},
		{"export|SELECT 1) TO 'x' --|--to|" + to + "/x.csv", "", "SYNTAX_ERROR"},
		{"export|SELECT 1", "", "--to is missing"},
		{"export|SELECT 1|--rows-of|ana|--to|x", "", "expected either one SELECT in quotes or --rows-of"},
		{"export|--to|x", "", "expected either one SELECT in quotes or --rows-of"},
		{"backup|app|--to|" + to + "/b", "copied_files", ""},
		{"backup|app", "", "expected a namespace and --to, or --list alone"},
		{"backup|--list|" + to + "/b", "│ app", ""},
		{"restore|app|--from|" + to + "/b|--as|again|--at|1", "│ app", ""},
		{"restore|app|--from|" + to + "/b", "", "ALREADY_EXISTS"},
		{"restore|app|--from|" + to + "/b|--at|0|--as|more", "", "expected the number of a backup"},
		{"restore|app", "", "--from is missing"},
	} {
		out, err := command(strings.Split(x.args, "|")...)
		if x.refused == "" && (err != nil || !strings.Contains(out, x.want)) || x.refused != "" && (err == nil || !strings.Contains(err.Error(), x.refused)) {
			t.Errorf("%s: %q, %v; expected %q%q", x.args, out, err, x.want, x.refused)
		}
	}
	if text, err := os.ReadFile(filepath.Join(to, "rows.txt")); err != nil || string(text) != "{\"x\":\"a'b\"}\n{\"x\":null}\n" {
		t.Errorf("exported %q, %v", text, err)
	}
	if got := r.sql("SELECT count(*) AS c FROM again.t"); got != "c\n2\n" {
		t.Errorf("restored %q", got)
	}
}
