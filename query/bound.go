package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// serializePlan gives the tree of a statement as DuckDB's binder leaves it.
const serializePlan = `SELECT json_serialize_plan($1::VARCHAR, skip_null := true, skip_empty := true, skip_default := true)::VARCHAR`

// errUnbound says that DuckDB does not give the tree of a condition, for whatever reason.
var errUnbound = errors.New("query: the condition has no tree")

// bind has DuckDB bind the condition and returns the parts that AND joins. Each refers
// to the columns of the relation by their position.
func (f *asker) bind(ctx context.Context) ([]node, error) {
	var table strings.Builder
	table.WriteString("(SELECT ")
	for _, col := range f.columns() {
		table.WriteString("CAST(NULL AS " + col.typ.String() + ") AS " + quoteName(col.name) + ", ")
	}
	sp := f.plan.splicePlain(table.String() + "CAST(NULL AS BIGINT) AS " + ordinalColumn + ")")
	f.e.trace(sp.text) // DuckDB gets it as a value
	raw, err := f.text(ctx, &spliced{text: serializePlan, pieces: sp.pieces, params: []row.Value{row.TextValue(sp.text)}})
	if err != nil {
		return nil, err
	}
	var answer node
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&answer) != nil || answer.flag("error") {
		return nil, errUnbound
	}
	plans := answer.list("plans")
	if len(plans) != 1 || plans[0].str("type") != "LOGICAL_PROJECTION" || len(plans[0].list("children")) != 1 {
		return nil, errUnbound
	}
	where := plans[0].list("children")[0]
	if below := where.list("children"); where.str("type") != "LOGICAL_FILTER" || len(below) != 1 || below[0].str("type") != "LOGICAL_PROJECTION" {
		return nil, errUnbound
	}
	return where.list("expressions"), nil
}

// columns are what a condition may name.
func (f *asker) columns() []scanColumn { return hotSource(f.rel, nil, nil, nil, true).columns }

// text runs a statement of ours whose result is one text.
func (f *asker) text(ctx context.Context, sp *spliced) (out []byte, err error) {
	limited, cancel := context.WithTimeoutCause(ctx, f.e.o.QueryTimeout, errTimeout)
	defer cancel()
	res, err := f.e.execute(limited, &task{
		text: sp.text, st: &statement{session: f.session}, plan: f.plan,
		bind: func(stmt mapping.PreparedStatement) error { return bind(stmt, sp.params) },
		each: func(_ *mapping.Result, chunk mapping.DataChunk) error {
			out = []byte(stringAt(mapping.VectorGetData(mapping.DataChunkGetVector(chunk, 0)), 0))
			mapping.DestroyDataChunk(&chunk)
			return nil
		},
		again:   func() { out = nil },
		failed:  func(err error, in *instance) error { return f.e.failure(ctx, limited, err, in, nil) },
		cleanup: func(bool) {},
	})
	if err != nil {
		return nil, err
	}
	mapping.DestroyResult(res)
	return out, nil
}

// A constantCast is a text that a condition casts to a type.
type constantCast struct{ text, typ string }

// constantCasts adds the casts of literals in n that Go leaves to DuckDB.
func constantCasts(n node, casts map[constantCast]row.Value) {
	if n.str("expression_class") == "BOUND_CAST" && !n.flag("try_cast") {
		v := n.child("child").child("value")
		typ := typeIn(n.child("return_type"))
		if v.child("type").str("id") == "VARCHAR" && !v.flag("is_null") && typ.foldable() {
			s, _ := v["value"].(string)
			casts[constantCast{s, typ.sql()}] = askValue
		}
		constantCasts(n.child("child"), casts)
		return
	}
	for _, v := range n {
		switch v := v.(type) {
		case map[string]any:
			constantCasts(v, casts)
		case []any:
			for _, c := range v {
				if m, ok := c.(map[string]any); ok {
					constantCasts(m, casts)
				}
			}
		}
	}
}

// foldable says whether DuckDB's value of the type is the carrier of it.
func (d duckType) foldable() bool {
	switch d.id {
	case "BOOLEAN", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL", "BLOB", "DATE", "TIME", "TIMESTAMP", "UUID", "HUGEINT":
		return d.alias == ""
	case "VARCHAR":
		return d.alias == "JSON"
	}
	return false
}

func (d duckType) sql() string {
	if d.id == "DECIMAL" {
		return "DECIMAL(" + strconv.Itoa(int(d.width)) + "," + strconv.Itoa(int(d.scale)) + ")"
	}
	if d.alias != "" {
		return d.alias
	}
	return d.id
}

// castsMax is how many literals of a condition are cast beforehand.
const castsMax = 20_000

// compute has DuckDB compute casts. Those that fail keep on asking.
func (e *Engine) compute(ctx context.Context, casts map[constantCast]row.Value) {
	if len(casts) == 0 || len(casts) > castsMax {
		return
	}
	keys := make([]constantCast, 0, len(casts))
	for k := range casts {
		keys = append(keys, k)
	}
	if !e.computeAll(ctx, keys, casts) && len(keys) <= 100 {
		for _, k := range keys {
			e.computeAll(ctx, []constantCast{k}, casts)
		}
	}
}

// computeAll computes all or none.
func (e *Engine) computeAll(ctx context.Context, keys []constantCast, casts map[constantCast]row.Value) bool {
	var b strings.Builder
	for i, k := range keys {
		b.WriteString([]string{"SELECT ", ", "}[btoi(i > 0)] + "CAST(" + quote(k.text) + " AS " + k.typ + ")")
	}
	p, err := e.Plan(b.String())
	if err != nil {
		return false
	}
	rows, err := e.Query(ctx, p, nil, nil, Session{})
	if err != nil {
		return false
	}
	defer rows.Close()
	if !rows.Next() || len(rows.Values()) != len(keys) {
		return false
	}
	for i, v := range rows.Values() {
		casts[keys[i]] = v.Clone()
	}
	return true
}

// namesUser says whether n calls CURRENT_USER() or its like.
func namesUser(n node) bool {
	if name := n.str("name"); name == "kalamdb_user" || name == "kalamdb_role" {
		return true
	}
	for _, v := range n {
		switch v := v.(type) {
		case map[string]any:
			if namesUser(v) {
				return true
			}
		case []any:
			for _, c := range v {
				if m, ok := c.(map[string]any); ok && namesUser(m) {
					return true
				}
			}
		}
	}
	return false
}
