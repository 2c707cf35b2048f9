package kalamdb

import (
	"strings"
	"testing"
)

func TestDiffering(t *testing.T) {
	for given, want := range map[string]string{"a b c": "a b c", "a a a": "a a_1 a_2", "a_1 a a": "a_1 a a_2", "a a a_1 a_1 a": "a a_1 a_1_1 a_1_2 a_2"} {
		var columns []Column
		for name := range strings.SplitSeq(given, " ") {
			columns = append(columns, Column{Name: name})
		}
		if got := strings.Join(differing(columns), " "); got != want {
			t.Errorf("%s: %s, expected %s", given, got, want)
		}
	}
}
