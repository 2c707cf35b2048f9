package kalamdb_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// floors is the house of ARCHITECTURE.md. A package may import packages of lower
// floors only: never one above it, never a neighbour.
var floors = map[string]int{
	"kalamdb/cmd/kalamdb": 7, "kalamdb/bench": 7,

	"kalamdb/server": 6, "kalamdb/client": 6,

	"kalamdb": 5,

	"kalamdb/query": 4,

	"kalamdb/ingest": 3, "kalamdb/lake": 3, "kalamdb/live": 3, "kalamdb/jobs": 3,

	"kalamdb/catalog": 2,

	"kalamdb/storagelocations": 1, "kalamdb/auth": 1, "kalamdb/sql": 1, "kalamdb/audit": 1,

	"kalamdb/row": 0,
}

// inside are packages that live in the folder of the package they serve, and are
// imported by tests only.
var inside = map[string]string{
	"kalamdb/storagelocations/buckettest": "kalamdb/storagelocations",
	"kalamdb/query/gatetest":              "kalamdb/query",
}

// measuring are programs that compare us with the raw dependencies, so homes does
// not bind them.
var measuring = map[string]bool{"kalamdb/bench": true}

// homes says which packages may import a big dependency: everybody else goes
// through them.
var homes = []struct {
	module string
	homes  []string
}{
	{"github.com/cockroachdb/pebble", []string{"kalamdb/ingest"}},
	{"github.com/duckdb/", []string{"kalamdb/query", "kalamdb/query/gatetest"}},
	{"github.com/parquet-go/", []string{"kalamdb/lake"}},
	{"github.com/aws/", []string{"kalamdb/storagelocations", "kalamdb/storagelocations/buckettest"}},
	{"github.com/gin-gonic/gin", []string{"kalamdb/server"}},
	{"github.com/gorilla/websocket", []string{"kalamdb/server", "kalamdb/client"}},
	{"github.com/golang-jwt/jwt", []string{"kalamdb/auth"}},
	{"github.com/knadh/koanf", []string{"kalamdb/cmd/kalamdb"}},
	{"github.com/spf13/cobra", []string{"kalamdb/cmd/kalamdb"}},
}

// A graph is what each of our packages imports, test files aside.
type graph map[string][]string

// violations are the sentences about every arrow of g that the house forbids.
func (g graph) violations() []string {
	var found []string
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for from, imports := range g {
		floor, ok := floors[from]
		if owner, isInside := inside[from]; isInside {
			floor, ok = floors[owner], true
		}
		if !ok {
			report("%s has no floor: add it to the table of this test and to ARCHITECTURE.md", from)
			continue
		}
		for _, to := range imports {
			if to != "kalamdb" && !strings.HasPrefix(to, "kalamdb/") {
				for _, h := range homes {
					if strings.HasPrefix(to, h.module) && !slices.Contains(h.homes, from) && !measuring[from] {
						report("%s imports %s, whose only home is %s", from, to, strings.Join(h.homes, ", "))
					}
				}
				continue
			}
			_, toInside := inside[to]
			target, ok := floors[to]
			switch {
			case toInside:
				report("%s imports %s, which is for tests only", from, to)
			case inside[from] == to:
				// a test helper uses the package it serves
			case !ok:
				report("%s imports %s, which has no floor", from, to)
			case target > floor:
				report("%s (floor %d) imports %s (floor %d): arrows do not run up", from, floor, to, target)
			case target == floor:
				report("%s imports %s, both on floor %d: arrows do not run sideways", from, to, floor)
			}
		}
	}
	slices.Sort(found)
	return found
}

// TestImports draws the import graph of the module and checks every arrow.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,CgoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	g := graph{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p struct {
			ImportPath                 string
			Imports, GoFiles, CgoFiles []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles)+len(p.CgoFiles) == 0 {
			continue // only tests live there
		}
		g[p.ImportPath] = p.Imports
	}
	for name := range floors {
		if _, ok := g[name]; !ok {
			t.Errorf("the table of floors has %s, the module has not", name)
		}
	}
	for _, v := range g.violations() {
		t.Error(v)
	}
}

// TestImportsRefusesBadArrows shows that TestImports would fail: each made-up arrow
// is one violation, and the good graph has none.
func TestImportsRefusesBadArrows(t *testing.T) {
	good := graph{
		"kalamdb/row":                         {"errors"},
		"kalamdb/ingest":                      {"kalamdb/row", "kalamdb/catalog", "github.com/cockroachdb/pebble/v2"},
		"kalamdb/storagelocations/buckettest": {"kalamdb/storagelocations", "kalamdb/row", "github.com/aws/smithy-go"},
	}
	if v := good.violations(); v != nil {
		t.Fatalf("the good graph is refused: %q", v)
	}
	for _, bad := range []struct{ from, to, want string }{
		{"kalamdb/row", "kalamdb/sql", "arrows do not run up"},
		{"kalamdb/query", "kalamdb", "arrows do not run up"},
		{"kalamdb/lake", "kalamdb/ingest", "arrows do not run sideways"},
		{"kalamdb/server", "kalamdb/client", "arrows do not run sideways"},
		{"kalamdb/util", "errors", "has no floor"},
		{"kalamdb/server", "kalamdb/util", "has no floor"},
		{"kalamdb/lake", "kalamdb/storagelocations/buckettest", "for tests only"},
		{"kalamdb/lake", "github.com/cockroachdb/pebble/v2/vfs", "only home is kalamdb/ingest"},
		{"kalamdb", "github.com/duckdb/duckdb-go/v2", "only home is kalamdb/query"},
		{"kalamdb/query", "github.com/parquet-go/parquet-go", "only home is kalamdb/lake"},
		{"kalamdb/lake", "github.com/aws/aws-sdk-go-v2/service/s3", "only home is kalamdb/storagelocations"},
		{"kalamdb", "github.com/gin-gonic/gin", "only home is kalamdb/server"},
		{"kalamdb/server", "github.com/golang-jwt/jwt/v5", "only home is kalamdb/auth"},
	} {
		v := graph{bad.from: {bad.to}}.violations()
		if len(v) != 1 || !strings.Contains(v[0], bad.want) {
			t.Errorf("%s → %s: got %q, expected one violation with %q", bad.from, bad.to, v, bad.want)
		}
	}
}
