package query

import (
	"fmt"
	"strconv"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// bind gives the prepared statement its parameters, each with the type of its value.
func bind(stmt mapping.PreparedStatement, params []row.Value) error {
	for i := range mapping.NParams(stmt) {
		name := mapping.ParameterName(stmt, i+1)
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 || n > len(params) {
			return &Error{Code: "INVALID_PARAMS", Message: "the parameter $" + name + " has no value", Pos: -1}
		}
		v, err := paramValue(params[n-1])
		if err != nil {
			return &Error{Code: "INVALID_PARAMS", Message: fmt.Sprintf("the parameter $%d: %v", n, err), Pos: -1}
		}
		state := mapping.BindValue(stmt, i+1, v)
		mapping.DestroyValue(&v)
		if state == mapping.StateError {
			return duckError(mapping.PrepareError(stmt))
		}
	}
	return nil
}

// paramValue makes a DuckDB value; the caller destroys it.
func paramValue(v row.Value) (mapping.Value, error) {
	switch v.Kind() {
	case row.Null:
		return mapping.CreateNullValue(), nil
	case row.Boolean:
		return mapping.CreateBool(v.Bool()), nil
	case row.SmallInt:
		return mapping.CreateInt16(int16(v.Int())), nil
	case row.Int:
		return mapping.CreateInt32(int32(v.Int())), nil
	case row.BigInt:
		return mapping.CreateInt64(v.Int()), nil
	case row.HugeInt:
		hi, lo := v.Halves()
		return mapping.CreateHugeInt(mapping.NewHugeInt(lo, hi)), nil
	case row.Float:
		return mapping.CreateFloat(v.Float()), nil
	case row.Double:
		return mapping.CreateDouble(v.Double()), nil
	case row.Decimal:
		hi, lo := v.Halves()
		t := decimalType(v)
		return mapping.CreateDecimal(mapping.NewDecimal(t.Precision, t.Scale, mapping.NewHugeInt(lo, hi))), nil
	case row.Text, row.JSON:
		return mapping.CreateVarcharLength(v.Str(), mapping.IdxT(len(v.Str()))), nil
	case row.Bytes:
		return mapping.CreateBlob([]byte(v.Str())), nil
	case row.Date:
		return mapping.CreateDate(mapping.NewDate(int32(v.Int()))), nil
	case row.Time:
		return mapping.CreateTime(mapping.NewTime(v.Int())), nil
	case row.Timestamp:
		return mapping.CreateTimestamp(mapping.NewTimestamp(v.Int())), nil
	case row.UUID:
		hi, lo := v.Halves()
		return mapping.CreateUUID(mapping.NewUHugeInt(lo, uint64(hi))), nil
	case row.Embedding:
		var floats []row.Value
		for _, f := range v.Floats(nil) {
			floats = append(floats, row.FloatValue(f))
		}
		return collection(row.Type{Kind: row.Float}, floats, true)
	case row.List:
		elems := v.List()
		t := row.Type{Kind: row.Null}
		for _, e := range elems {
			switch k := e.Kind(); {
			case k == row.Null:
			case k == row.List || k == row.Embedding:
				return mapping.Value{}, fmt.Errorf("lists of lists cannot be bound")
			case k == row.Decimal:
				d := decimalType(e)
				t = row.Type{Kind: k, Precision: max(t.Precision, d.Precision), Scale: d.Scale}
			default:
				t = row.Type{Kind: k}
			}
		}
		return collection(t, elems, false)
	}
	return mapping.Value{}, fmt.Errorf("a %s cannot be bound", v.Kind())
}

// decimalType is the narrowest type that holds v.
func decimalType(v row.Value) row.Type {
	b := v.Big()
	digits := len(b.Abs(b).String())
	return row.Type{Kind: row.Decimal, Precision: uint8(min(38, max(digits, int(v.Scale()), 1))), Scale: v.Scale()}
}

// collection makes a list or an array.
func collection(elem row.Type, elems []row.Value, array bool) (mapping.Value, error) {
	values := make([]mapping.Value, 0, len(elems))
	defer func() {
		for i := range values {
			mapping.DestroyValue(&values[i])
		}
	}()
	for _, e := range elems {
		v, err := paramValue(e)
		if err != nil {
			return mapping.Value{}, err
		}
		values = append(values, v)
	}
	t := logicalType(elem)
	defer mapping.DestroyLogicalType(&t)
	if array {
		return mapping.CreateArrayValue(t, values), nil
	}
	return mapping.CreateListValue(t, values), nil
}
