package server

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamdb"
	"kalamdb/row"
)

// A record batch ends at whichever comes first.
const (
	arrowBatchRows  = 8192
	arrowBatchBytes = 1 << 20
)

// streamArrow sends an Arrow IPC stream. If the rows end early the connection is
// cut before the end-of-stream mark, which every Arrow reader reports.
func (s *Server) streamArrow(w http.ResponseWriter, r *http.Request, rows Rows, more bool) {
	schema := arrowSchema(rows.Columns())
	w.Header().Set("Content-Type", mediaArrow)
	s.extendWrite(w)
	out := ipc.NewWriter(w, ipc.WithSchema(schema), ipc.WithAllocator(memory.DefaultAllocator))
	batch := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer batch.Release()
	cut := func(err error) {
		e := asError(err)
		s.logFault(r, statusOf(e.Code), e)
		panic(http.ErrAbortHandler)
	}
	n, size := 0, 0
	flush := func() error {
		record := batch.NewRecordBatch()
		defer record.Release()
		n, size = 0, 0
		s.extendWrite(w)
		if err := out.Write(record); err != nil {
			return err
		}
		w.(http.Flusher).Flush()
		return nil
	}
	for ; more; more = rows.Next() {
		for i, v := range rows.Values() {
			if err := appendArrow(batch.Field(i), v); err != nil {
				cut(fmt.Errorf("arrow column %s: %w", schema.Field(i).Name, err))
			}
			size += v.Bytes()
		}
		if n++; n == arrowBatchRows || size >= arrowBatchBytes {
			if err := flush(); err != nil {
				s.log.Debug("client went away", "err", err)
				return
			}
		}
	}
	if err := rows.Err(); err != nil {
		cut(err)
	}
	if n > 0 {
		if err := flush(); err != nil {
			s.log.Debug("client went away", "err", err)
			return
		}
	}
	if err := out.Close(); err != nil { // writes the schema too if there was no row
		s.log.Debug("client went away", "err", err)
	}
}

func arrowSchema(columns []kalamdb.Column) *arrow.Schema {
	fields := make([]arrow.Field, len(columns))
	for i, c := range distinct(columns) {
		fields[i] = arrow.Field{Name: c.Name, Type: arrowType(c.Type), Nullable: true}
	}
	return arrow.NewSchema(fields, nil)
}

var arrowScalars = map[string]arrow.DataType{
	"BOOLEAN":  arrow.FixedWidthTypes.Boolean,
	"TINYINT":  arrow.PrimitiveTypes.Int16,
	"SMALLINT": arrow.PrimitiveTypes.Int16, "UTINYINT": arrow.PrimitiveTypes.Int16,
	"INTEGER": arrow.PrimitiveTypes.Int32, "USMALLINT": arrow.PrimitiveTypes.Int32,
	"BIGINT": arrow.PrimitiveTypes.Int64, "UINTEGER": arrow.PrimitiveTypes.Int64,
	"UBIGINT": wholeDecimal, "HUGEINT": wholeDecimal,
	"FLOAT": arrow.PrimitiveTypes.Float32, "DOUBLE": arrow.PrimitiveTypes.Float64,
	"BLOB": arrow.BinaryTypes.Binary,
	"DATE": arrow.FixedWidthTypes.Date32, "TIME": arrow.FixedWidthTypes.Time64us,
	"TIMESTAMP": microseconds, "TIMESTAMP WITH TIME ZONE": microseconds,
	"TIMESTAMP_S": microseconds, "TIMESTAMP_MS": microseconds, "TIMESTAMP_NS": microseconds,
}

var (
	wholeDecimal = &arrow.Decimal128Type{Precision: 38, Scale: 0}
	microseconds = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
)

// arrowType is the Arrow type of a DuckDB type by its name. What Arrow has no
// simple type for (JSON, UUID, STRUCT, INTERVAL …) is text as in JSON answers.
func arrowType(name string) arrow.DataType {
	if open := strings.LastIndexByte(name, '['); open >= 0 && strings.HasSuffix(name, "]") {
		elem := arrowType(name[:open])
		if n, err := strconv.ParseInt(name[open+1:len(name)-1], 10, 32); err == nil && n > 0 {
			return arrow.FixedSizeListOf(int32(n), elem)
		}
		return arrow.ListOf(elem)
	}
	if t, ok := arrowScalars[name]; ok {
		return t
	}
	var precision, scale int32
	if n, _ := fmt.Sscanf(name, "DECIMAL(%d,%d)", &precision, &scale); n == 2 {
		return &arrow.Decimal128Type{Precision: precision, Scale: scale}
	}
	return arrow.BinaryTypes.String
}

// appendArrow appends v to b; an error means that v is not of the column's type.
func appendArrow(b array.Builder, v row.Value) error {
	if v.IsNull() {
		b.AppendNull()
		return nil
	}
	k := v.Kind()
	whole := k == row.SmallInt || k == row.Int || k == row.BigInt
	switch b := b.(type) {
	case *array.BooleanBuilder:
		if k == row.Boolean {
			b.Append(v.Bool())
			return nil
		}
	case *array.Int16Builder:
		if whole && int64(int16(v.Int())) == v.Int() {
			b.Append(int16(v.Int()))
			return nil
		}
	case *array.Int32Builder:
		if whole && int64(int32(v.Int())) == v.Int() {
			b.Append(int32(v.Int()))
			return nil
		}
	case *array.Int64Builder:
		if whole {
			b.Append(v.Int())
			return nil
		}
	case *array.Float32Builder:
		if k == row.Float {
			b.Append(v.Float())
			return nil
		}
	case *array.Float64Builder:
		if k == row.Double {
			b.Append(v.Double())
			return nil
		}
	case *array.Decimal128Builder:
		switch {
		case k == row.Decimal && int32(v.Scale()) == b.Type().(*arrow.Decimal128Type).Scale || k == row.HugeInt:
			b.Append(decimal128.New(v.Halves()))
			return nil
		case whole:
			b.Append(decimal128.FromI64(v.Int()))
			return nil
		}
	case *array.BinaryBuilder:
		if k == row.Bytes {
			b.AppendString(v.Str())
			return nil
		}
	case *array.Date32Builder:
		if k == row.Date {
			b.Append(arrow.Date32(v.Int()))
			return nil
		}
	case *array.Time64Builder:
		if k == row.Time {
			b.Append(arrow.Time64(v.Int()))
			return nil
		}
	case *array.TimestampBuilder:
		if k == row.Timestamp {
			b.Append(arrow.Timestamp(v.Int()))
			return nil
		}
	case *array.ListBuilder:
		if k == row.List || k == row.Embedding {
			b.Append(true)
			return appendArrowElems(b.ValueBuilder(), v)
		}
	case *array.FixedSizeListBuilder:
		if n := int(b.Type().(*arrow.FixedSizeListType).Len()); (k == row.List || k == row.Embedding) && v.Len() == n {
			b.Append(true)
			return appendArrowElems(b.ValueBuilder(), v)
		}
	case *array.StringBuilder:
		b.Append(string(v.AppendText(nil)))
		return nil
	}
	return fmt.Errorf("a %s in a column of %s", k, b.Type())
}

func appendArrowElems(b array.Builder, v row.Value) error {
	if v.Kind() == row.Embedding {
		floats, ok := b.(*array.Float32Builder)
		if !ok {
			return fmt.Errorf("an EMBEDDING in a list of %s", b.Type())
		}
		floats.AppendValues(v.Floats(nil), nil)
		return nil
	}
	for _, e := range v.List() {
		if err := appendArrow(b, e); err != nil {
			return err
		}
	}
	return nil
}
