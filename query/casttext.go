package query

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"kalamdb/row"
)

// castText is v, which is not NULL, as a text that DuckDB casts to exactly v.
func castText(v row.Value) string {
	switch v.Kind() {
	case row.Text, row.JSON:
		return v.Str()
	case row.Bytes:
		digits := strings.ToUpper(hex.EncodeToString([]byte(v.Str())))
		var b strings.Builder
		for i := 0; i < len(digits); i += 2 {
			b.WriteString(`\x` + digits[i:i+2])
		}
		return b.String()
	case row.Date:
		switch v.Int() {
		case math.MaxInt32:
			return "infinity"
		case -math.MaxInt32:
			return "-infinity"
		}
		return calendar(time.Unix(v.Int()*86400, 0).UTC(), "")
	case row.Timestamp:
		if n := v.Int(); n == math.MaxInt64 || n == -math.MaxInt64 {
			break
		}
		return calendar(time.UnixMicro(v.Int()).UTC(), " 15:04:05.000000")
	case row.List:
		elems := v.List()
		parts := make([]string, len(elems))
		for i, e := range elems {
			parts[i] = listElement(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case row.Embedding:
		return strings.ReplaceAll(string(v.AppendText(nil)), `"`, "")
	}
	return strings.Trim(string(v.AppendText(nil)), `"`)
}

// calendar writes a day, with the years before 1 as DuckDB has them.
func calendar(t time.Time, clock string) string {
	era, year := "", t.Year()
	if year < 1 {
		era, year = " (BC)", 1-year
	}
	return fmt.Sprintf("%04d-%02d-%02d%s%s", year, t.Month(), t.Day(), era, t.Format(clock))
}

// listElement is an element in the text of a list. Quotes keep what it says from being
// taken for the list's own signs.
func listElement(v row.Value) string {
	if v.IsNull() {
		return "NULL"
	}
	return `'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(castText(v)) + `'`
}
