package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

// The console works without a network: it names no other host.
func TestConsoleLoadsNothing(t *testing.T) {
	for _, name := range []string{"index.html", "console.js", "console.css"} {
		text, err := console.ReadFile("console/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("//cdn")) || bytes.Contains(text, []byte("http://")) || bytes.Contains(text, []byte("https://")) {
			t.Errorf("%s names another host", name)
		}
	}
}

// The OpenAPI document describes exactly the routes there are, its references
// lead somewhere, and every status of the table is one it knows.
func TestOpenAPIIsTrue(t *testing.T) {
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ Responses map[string]any }
		Components map[string]map[string]any
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	var described []string
	for path, methods := range doc.Paths {
		for method := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	var there []string
	for _, r := range newServer(&fakeDB{}, Options{}).routes().(*gin.Engine).Routes() {
		path := strings.TrimSuffix(r.Path, "*file")
		if r.Method != http.MethodHead && path != "/console" {
			there = append(there, r.Method+" "+path)
		}
	}
	slices.Sort(described)
	slices.Sort(there)
	if !slices.Equal(described, there) {
		t.Errorf("described %v\nserved    %v", described, there)
	}
	for code, status := range statuses {
		if code == codeMethodNotAllowed {
			continue
		}
		if doc.Paths["/api/sql"]["post"].Responses[fmt.Sprint(status)] == nil {
			t.Errorf("%s answers %d, which is not described", code, status)
		}
	}
	for _, ref := range strings.Split(string(openAPI), `"$ref": "#/components/`)[1:] {
		ref, _, _ = strings.Cut(ref, `"`)
		kind, name, _ := strings.Cut(ref, "/")
		if doc.Components[kind][name] == nil {
			t.Errorf("reference to %s, which is not there", ref)
		}
	}
	schemas := doc.Components["schemas"]
	fields := func(schema any) []string {
		var names []string
		for name := range schema.(map[string]any)["properties"].(map[string]any) {
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	want := slices.Sorted(slices.Values(requestFields))
	if got := fields(schemas["Request"]); !slices.Equal(got, want) {
		t.Errorf("request fields %v, want %v", got, want)
	}
	want = slices.Sorted(slices.Values(subscriptionFields))
	if got := fields(schemas["Subscription"]); !slices.Equal(got, want) {
		t.Errorf("subscription fields %v, want %v", got, want)
	}
	for _, frame := range schemas["ClientFrame"].(map[string]any)["oneOf"].([]any) {
		kind := frame.(map[string]any)["properties"].(map[string]any)["type"].(map[string]any)["const"].(string)
		want := slices.Sorted(slices.Values(frameTypes[kind]))
		if got := fields(frame); !slices.Equal(got, want) {
			t.Errorf("fields of %s: %v, want %v", kind, got, want)
		}
	}
}
