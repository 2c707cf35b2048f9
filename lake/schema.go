package lake

import (
	"reflect"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding"

	"kalamdb/row"
)

// How a column is written, chosen so that DuckDB reads back the declared type:
//
//	BOOLEAN BOOLEAN · SMALLINT INT32 Int(16) · INTEGER INT32 · BIGINT INT64 · FLOAT FLOAT · DOUBLE DOUBLE
//	DECIMAL(p) INT32 to 9 digits, INT64 to 18, FIXED_LEN_BYTE_ARRAY(16) above
//	VARCHAR BYTE_ARRAY String · BLOB BYTE_ARRAY · JSON BYTE_ARRAY Json · UUID FIXED_LEN_BYTE_ARRAY(16) UUID
//	DATE INT32 Date · TIME INT64 Time(µs) · TIMESTAMP INT64 Timestamp(µs)
//	T[] LIST of optional T · EMBEDDING(n) LIST of required FLOAT
//
// TIME and TIMESTAMP say isAdjustedToUTC = false although the values are UTC:
// with true DuckDB reads TIME WITH TIME ZONE and TIMESTAMP WITH TIME ZONE.
// Primary-key and system columns are required; the others are optional, so that a
// declared NOT NULL can be changed without touching files.

const (
	int32DigitsMax = 9  // decimals that fit an INT32
	int64DigitsMax = 18 // decimals that fit an INT64
	decimalBytes   = 16 // larger ones, big-endian
)

// leafNode is the Parquet leaf of a scalar type.
func leafNode(t row.Type) parquet.Node {
	switch t.Kind {
	case row.Boolean:
		return parquet.Leaf(parquet.BooleanType)
	case row.SmallInt:
		return parquet.Int(16)
	case row.Int:
		return parquet.Int(32)
	case row.BigInt:
		return parquet.Int(64)
	case row.Float:
		return parquet.Leaf(parquet.FloatType)
	case row.Double:
		return parquet.Leaf(parquet.DoubleType)
	case row.Decimal:
		return parquet.Decimal(int(t.Scale), int(t.Precision), decimalPhysical(t))
	case row.Text:
		return parquet.String()
	case row.Bytes:
		return parquet.Leaf(parquet.ByteArrayType)
	case row.Date:
		return parquet.Date()
	case row.Time:
		return parquet.TimeAdjusted(parquet.Microsecond, false)
	case row.Timestamp:
		return parquet.TimestampAdjusted(parquet.Microsecond, false)
	case row.JSON:
		return parquet.JSON()
	case row.UUID:
		return parquet.UUID()
	}
	panic("lake: broken invariant: a column of type " + t.String())
}

func decimalPhysical(t row.Type) parquet.Type {
	switch {
	case t.Precision <= int32DigitsMax:
		return parquet.Int32Type
	case t.Precision <= int64DigitsMax:
		return parquet.Int64Type
	}
	return parquet.FixedLenByteArrayType(decimalBytes)
}

// numeric says whether the leaf of t is written as an integer, which packs well as deltas.
func numeric(t row.Type) bool {
	switch t.Kind {
	case row.SmallInt, row.Int, row.BigInt, row.Date, row.Time, row.Timestamp:
		return true
	case row.Decimal:
		return t.Precision <= int64DigitsMax
	}
	return false
}

// bloomed says whether a primary-key column of type t gets a bloom filter. BOOLEAN
// cannot have one. For FLOAT and DOUBLE it would be wrong: -0.0 = 0.0 as keys, but not
// as bytes. For BLOB DuckDB 1.5 asks the filter for the printed form of the constant,
// '\xFF' for one byte, and so loses rows.
func bloomed(t row.Type) bool {
	switch t.Kind {
	case row.Boolean, row.Float, row.Double, row.Bytes:
		return false
	}
	return true
}

// ordered says whether Parquet statistics of a column of type t bound its values. Those
// of large decimals do not: parquet-go compares their bytes without regard to the sign.
// Those of floats leave out NaN, which DuckDB takes for the largest number, so with
// them it would skip row groups it needs. Such columns are written without statistics.
func ordered(t row.Type) bool {
	switch t.Kind {
	case row.Float, row.Double:
		return false
	case row.Decimal:
		return t.Precision <= int64DigitsMax
	}
	return true
}

// A shape is how the columns of a file are encoded where that depends on the data.
// One byte a declared column: a set of the flags below. It is the key of the pools
// of writers.
type shape string

const (
	shapeDictionary = 1 << iota // few distinct texts
	shapeLong                   // long texts: no bounds in footer and page index
)

// A leaf is one Parquet leaf column of a file.
type leaf struct {
	column   int // position in row.Schema.Columns; systemSeq… for the system columns
	typ      row.Type
	optional bool // definition level of a present scalar is 1
}

// set puts the values that a file has for the leaf into r.
func (l *leaf) set(r *row.Row, values []parquet.Value) {
	switch l.column {
	case systemSeq:
		r.Seq = row.Seq(values[0].Int64())
	case systemUpdated:
		r.Updated = values[0].Int64()
	case systemDeleted:
		r.Deleted = values[0].Boolean()
	default:
		r.Values[l.column] = valueOf(l, values)
	}
}

const (
	systemSeq = -1 - iota
	systemUpdated
	systemDeleted
)

// A layout is the Parquet schema of one schema version, with its columns in declared order
// and the system columns behind them.
type layout struct {
	schema *row.Schema
	leaves []leaf
	key    []int      // leaf positions of the primary key, in key order
	types  []row.Type // of the primary key
}

func newLayout(s *row.Schema) *layout {
	l := &layout{schema: s, key: s.KeyIndexes(), types: s.KeyTypes()}
	isKey := make([]bool, len(s.Columns))
	for _, i := range l.key {
		isKey[i] = true
	}
	for i, c := range s.Columns {
		l.leaves = append(l.leaves, leaf{column: i, typ: c.Type, optional: !isKey[i]})
	}
	l.leaves = append(l.leaves,
		leaf{column: systemSeq, typ: row.Type{Kind: row.BigInt}},
		leaf{column: systemUpdated, typ: row.Type{Kind: row.Timestamp}},
		leaf{column: systemDeleted, typ: row.Type{Kind: row.Boolean}})
	return l
}

func (l *layout) seqLeaf() int     { return len(l.leaves) - 3 }
func (l *layout) updatedLeaf() int { return len(l.leaves) - 2 }
func (l *layout) deletedLeaf() int { return len(l.leaves) - 1 }

// options are those of a Parquet writer for files of this layout and shape. A packed one
// has the user before the columns of the table.
func (l *layout) options(sh shape, codec compress.Codec, packed bool) []parquet.WriterOption {
	var fields []parquet.Field
	var blooms []parquet.BloomFilterColumn
	var sorting []parquet.SortingColumn
	bloom := func(name string) { blooms = append(blooms, parquet.SplitBlockFilter(bloomBitsPerValue, name)) }
	skip := func(path ...string) parquet.WriterOption { return parquet.SkipPageBounds(path...) }
	var opts []parquet.WriterOption
	add := func(name string, id row.ColumnID, n parquet.Node) {
		fields = append(fields, &field{Node: parquet.FieldID(n, int(id)), name: name})
	}
	if packed {
		add(row.ColUserID, row.IDUserID, columnNode(row.Type{Kind: row.Text}, shapeDictionary))
		sorting = append(sorting, parquet.Ascending(row.ColUserID))
	}
	for i, c := range l.schema.Columns {
		node := columnNode(c.Type, sh[i])
		if l.leaves[i].optional {
			node = parquet.Optional(node)
		}
		add(c.Name, c.ID, node)
		switch {
		case c.Type.Kind == row.List:
			opts = append(opts, skip(c.Name, "list", "element"))
		case c.Type.Kind == row.Embedding:
			opts = append(opts, skip(c.Name, "list", "element"))
		case sh[i]&shapeLong != 0 || !ordered(c.Type):
			opts = append(opts, skip(c.Name))
		}
	}
	for _, i := range l.key {
		c := l.schema.Columns[i]
		if !packed && bloomed(c.Type) {
			bloom(c.Name)
		}
		sorting = append(sorting, parquet.Ascending(c.Name))
	}
	long := row.Type{Kind: row.BigInt}
	add(row.ColSeq, row.IDSeq, columnNode(long, 0))
	add(row.ColUpdated, row.IDUpdated, columnNode(row.Type{Kind: row.Timestamp}, 0))
	add(row.ColDeleted, row.IDDeleted, columnNode(row.Type{Kind: row.Boolean}, 0))
	if !packed {
		bloom(row.ColUpdated)
	}
	root := &group{fields: fields}
	return append(opts,
		parquet.NewSchema("kalamdb", root),
		parquet.Compression(codec),
		parquet.PageBufferSize(pageBytes),
		parquet.DataPageStatistics(false), // the page index has them
		parquet.BloomFilters(blooms...),
		parquet.SortingWriterConfig(parquet.SortingColumns(sorting...)),
		parquet.CreatedBy("kalamdb", "1", "parquet-go"))
}

// columnNode is the Parquet node of a column, without its field id.
func columnNode(t row.Type, sh byte) parquet.Node {
	switch t.Kind {
	case row.List:
		return parquet.List(parquet.Optional(leafNode(t.ElemType())))
	case row.Embedding:
		return parquet.List(leafNode(row.Type{Kind: row.Float}))
	}
	node := leafNode(t)
	if e := leafEncoding(t, sh); e != nil {
		node = parquet.Encoded(node, e)
	}
	return node
}

func leafEncoding(t row.Type, sh byte) encoding.Encoding {
	switch {
	case sh&shapeDictionary != 0:
		return &parquet.RLEDictionary
	case numeric(t):
		return &parquet.DeltaBinaryPacked
	}
	return nil
}

// A group is a Parquet group that keeps its fields in the given order; parquet.Group sorts them by name.
type group struct {
	parquet.Group // everything but the fields
	fields        []parquet.Field
}

func (g *group) Fields() []parquet.Field { return g.fields }
func (g *group) String() string          { return "kalamdb" }

// A field is a node with its name.
type field struct {
	parquet.Node
	name string
}

func (f *field) Name() string { return f.name }

// Value is for rows made of Go structs; values are written column by column here.
func (f *field) Value(reflect.Value) reflect.Value {
	panic("lake: broken invariant: a column read from a Go struct")
}
