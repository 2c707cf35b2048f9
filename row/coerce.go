package row

import "errors"

var (
	// ErrValue is wrapped by errors about a value that certainly does not fit its type.
	ErrValue = errors.New("invalid value")
	// ErrSlow says that only DuckDB can tell whether and how a value converts.
	ErrSlow = errors.New("conversion is left to DuckDB")
)

// Coerce converts a literal to a column's type.
func Coerce(v Value, t Type) (Value, error) {
	if v.kind == Null || v.kind == t.Kind && t.Kind != Decimal && t.Kind != List && t.Kind != Embedding {
		return v, nil
	}
	return Value{}, ErrSlow
}

// CoerceParam converts a JSON parameter to a column's type.
func CoerceParam(v Value, t Type) (Value, error) { return Coerce(v, t) }
