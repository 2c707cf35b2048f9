package kalamdb

import (
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"kalamdb/row"
	"kalamdb/sql"
)

// A defaultCache remembers how the text of a DEFAULT is evaluated. It is as large
// as there are different defaults in the catalog.
type defaultCache struct{ byText sync.Map } // text → sql.Expr

// defaultValue is the value of a column that an INSERT leaves out: NULL without a
// default (an AUTO_INCREMENT column is filled later), row.ErrSlow if DuckDB has to
// evaluate it.
func (db *DB) defaultValue(s *statement, col *row.Column) (row.Value, error) {
	if col.Default == "" {
		return row.NullValue, nil
	}
	v, err := db.defaults.expr(col.Default).now(db, s)
	if err != nil {
		return v, err
	}
	return row.Coerce(v, col.Type)
}

type defaultExpr struct {
	sql.Expr
	call string // the function, upper case without parentheses, if it is a call we know
}

func (d *defaultCache) expr(text string) defaultExpr {
	if e, ok := d.byText.Load(text); ok {
		return e.(defaultExpr)
	}
	e := defaultExpr{Expr: sql.Expr{Kind: sql.Other}}
	// The parser of INSERT is the one that tells literals from expressions.
	if list, err := sql.Parse("INSERT INTO t VALUES (" + text + ")"); err == nil && len(list) == 1 {
		if ins, ok := list[0].(*sql.Insert); ok && len(ins.Rows) == 1 && len(ins.Rows[0]) == 1 {
			e.Expr = ins.Rows[0][0]
		}
	}
	if e.Kind == sql.Other {
		e.call = strings.ToUpper(strings.TrimSuffix(strings.Join(strings.Fields(text), ""), "()"))
	}
	d.byText.Store(text, e)
	return e
}

// now evaluates the default for one row.
func (e defaultExpr) now(db *DB, s *statement) (row.Value, error) {
	if e.Kind == sql.Literal {
		return e.Value, nil
	}
	switch e.call {
	case "NOW", "CURRENT_TIMESTAMP":
		return row.IntValue(row.Timestamp, s.now.UnixMicro()), nil
	case "SNOWFLAKE_ID":
		return row.IntValue(row.BigInt, db.buffer.NextID()), nil
	case "UUID_V7":
		id, err := uuid.NewV7()
		return row.UUIDValue(id), err
	case "ULID":
		return row.TextValue(ulid.Make().String()), nil
	case "CURRENT_USER":
		return row.TextValue(string(s.req.As.User)), nil
	case "CURRENT_ROLE":
		return row.TextValue(s.req.As.Role.String()), nil
	}
	return row.NullValue, row.ErrSlow
}
