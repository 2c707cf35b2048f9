package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// codePattern finds the codes of errors where the packages below write them down.
var codePattern = regexp.MustCompile(`(?:Code\w*\s*=\s*|Code:\s*|fail\(|refuse\w*\(|code\w*\s*=\s*)"([A-Z][A-Z_]+)"`)

// Every code that a package below can give has a status here; one that has none would
// answer 500.
func TestEveryCodeHasAStatus(t *testing.T) {
	seen := map[string]bool{}
	for _, dir := range []string{"..", "../sql", "../query", "."} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range codePattern.FindAllSubmatch(text, -1) {
				code := string(m[1])
				seen[code] = true
				if _, ok := statuses[code]; !ok {
					t.Errorf("%s: the code %s has no status in errors.go", name, code)
				}
			}
		}
	}
	for _, code := range []string{"SYNTAX_ERROR", "INVALID_TYPE", "FORBIDDEN_FUNCTION", "STATEMENT_TIMEOUT", "DUPLICATE_KEY", "NOT_READY"} {
		if !seen[code] {
			t.Errorf("%s was not found: the pattern of this test is out of date", code)
		}
	}
}
