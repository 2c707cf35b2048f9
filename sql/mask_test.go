package sql

import "testing"

func TestWithoutLiterals(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT 1": "SELECT ?",
		"INSERT INTO t VALUES ('it''s', 1.5, -2, $1)":       "INSERT INTO t VALUES (?, ?, -?, $1)",
		"SELECT E'a\\'b', $$x$$, X'00' /* secret */ FROM t": "SELECT ?, ?, ? FROM t",
		"SELECT \"c1\" -- secret\n  FROM t1 WHERE a='x'":    "SELECT \"c1\" FROM t1 WHERE a=?",
		"SELECT a FROM t WHERE b = 'cut he":                 "SELECT a FROM t WHERE b =",
		"SELECT a /* cut he":                                "SELECT a",
	} {
		if got := WithoutLiterals(text); got != want {
			t.Errorf("%s\n gives %s\nexpected %s", text, got, want)
		}
	}
}
