package kalamdb

import (
	"encoding/json"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamdb/row"
)

// arrowType is the Arrow type that holds the values of a column.
func arrowType(t row.Type) arrow.DataType {
	switch t.Kind {
	case row.Boolean:
		return arrow.FixedWidthTypes.Boolean
	case row.SmallInt:
		return arrow.PrimitiveTypes.Int16
	case row.Int:
		return arrow.PrimitiveTypes.Int32
	case row.BigInt:
		return arrow.PrimitiveTypes.Int64
	case row.Float:
		return arrow.PrimitiveTypes.Float32
	case row.Double:
		return arrow.PrimitiveTypes.Float64
	case row.Decimal:
		return &arrow.Decimal128Type{Precision: int32(t.Precision), Scale: int32(t.Scale)}
	case row.Bytes:
		return arrow.BinaryTypes.Binary
	case row.Date:
		return arrow.FixedWidthTypes.Date32
	case row.Time:
		return arrow.FixedWidthTypes.Time64us
	case row.Timestamp:
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	case row.List:
		return arrow.ListOf(arrowType(t.ElemType()))
	case row.Embedding:
		return arrow.FixedSizeListOf(int32(t.Dim), arrow.PrimitiveTypes.Float32)
	}
	return arrow.BinaryTypes.String
}

// arrowSchemaJSON is a schema as the arrow_schema of system.table_schemas: the
// fields by name, Arrow type and nullability, with column id and SQL type.
func arrowSchemaJSON(s *row.Schema) string {
	type field struct {
		Name     string            `json:"name"`
		Type     string            `json:"type"`
		Nullable bool              `json:"nullable"`
		Metadata map[string]string `json:"metadata"`
	}
	fields := make([]field, len(s.Columns))
	for i, c := range s.Columns {
		fields[i] = field{c.Name, arrowType(c.Type).String(), !c.NotNull, map[string]string{"id": fmt.Sprint(c.ID), "sql_type": c.Type.String()}}
	}
	b, err := json.Marshal(map[string]any{"fields": fields})
	if err != nil {
		panic("kalamdb: broken invariant: a schema has no JSON: " + err.Error())
	}
	return string(b)
}
