package sql

import "testing"

func TestComplete(t *testing.T) {
	for text, want := range map[string]bool{
		"":                              false,
		"SELECT 1":                      false,
		"SELECT 1;":                     true,
		"SELECT 1; -- done":             true,
		"SELECT 1; SELECT 2":            false,
		"SELECT ';":                     false,
		"SELECT ';';":                   true,
		"SELECT \";":                    false,
		"SELECT $$;":                    false,
		"SELECT $$;$$;":                 true,
		"SELECT E'\\';":                 false,
		"SELECT 1 /* ;":                 false,
		"SELECT 1 /* /* */ ;":           false,
		"-- SELECT 1;":                  false,
		"SELECT 1 \x00":                 true,
		"SELECT\n  1\n;\n":              true,
		"INSERT INTO t VALUES ('I'm');": false,
	} {
		if got := Complete(text); got != want {
			t.Errorf("Complete(%q) = %v", text, got)
		}
	}
}
