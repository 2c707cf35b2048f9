package query

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// A decoder turns one column of DuckDB's vectors into values.
type decoder struct {
	name     string // of the type
	id       mapping.Type
	storage  mapping.Type // of DECIMAL and ENUM
	scale    uint8
	json     bool
	size     int      // ARRAY
	fields   []string // STRUCT
	labels   []string // ENUM
	children []*decoder

	data     unsafe.Pointer
	validity unsafe.Pointer
}

var typeNames = map[mapping.Type]string{
	mapping.TypeBoolean: "BOOLEAN", mapping.TypeTinyInt: "TINYINT", mapping.TypeSmallInt: "SMALLINT",
	mapping.TypeInteger: "INTEGER", mapping.TypeBigInt: "BIGINT", mapping.TypeUTinyInt: "UTINYINT",
	mapping.TypeUSmallInt: "USMALLINT", mapping.TypeUInteger: "UINTEGER", mapping.TypeUBigInt: "UBIGINT",
	mapping.TypeFloat: "FLOAT", mapping.TypeDouble: "DOUBLE", mapping.TypeTimestamp: "TIMESTAMP",
	mapping.TypeDate: "DATE", mapping.TypeTime: "TIME", mapping.TypeInterval: "INTERVAL",
	mapping.TypeHugeInt: "HUGEINT", mapping.TypeUHugeInt: "UHUGEINT", mapping.TypeVarchar: "VARCHAR",
	mapping.TypeBlob: "BLOB", mapping.TypeTimestampS: "TIMESTAMP_S", mapping.TypeTimestampMS: "TIMESTAMP_MS",
	mapping.TypeTimestampNS: "TIMESTAMP_NS", mapping.TypeUUID: "UUID", mapping.TypeBit: "BIT",
	mapping.TypeTimeTZ: "TIME WITH TIME ZONE", mapping.TypeTimestampTZ: "TIMESTAMP WITH TIME ZONE",
	mapping.TypeBigNum: "BIGNUM", mapping.TypeSQLNull: "NULL", mapping.TypeTimeNS: "TIME_NS",
	mapping.TypeGeometry: "GEOMETRY", mapping.TypeVariant: "VARIANT", mapping.TypeEnum: "ENUM",
}

func newDecoder(lt mapping.LogicalType) *decoder {
	d := &decoder{id: mapping.GetTypeId(lt)}
	d.name = typeNames[d.id]
	child := func(t mapping.LogicalType) *decoder {
		c := newDecoder(t)
		mapping.DestroyLogicalType(&t)
		d.children = append(d.children, c)
		return c
	}
	switch d.id {
	case mapping.TypeVarchar:
		if mapping.LogicalTypeGetAlias(lt) == "JSON" {
			d.json, d.name = true, "JSON"
		}
	case mapping.TypeDecimal:
		d.scale, d.storage = mapping.DecimalScale(lt), mapping.DecimalInternalType(lt)
		d.name = fmt.Sprintf("DECIMAL(%d,%d)", mapping.DecimalWidth(lt), d.scale)
	case mapping.TypeEnum:
		d.storage = mapping.EnumInternalType(lt)
		for i := range mapping.IdxT(mapping.EnumDictionarySize(lt)) {
			d.labels = append(d.labels, mapping.EnumDictionaryValue(lt, i))
		}
	case mapping.TypeList:
		d.name = child(mapping.ListTypeChildType(lt)).name + "[]"
	case mapping.TypeArray:
		d.size = int(mapping.ArrayTypeArraySize(lt))
		d.name = child(mapping.ArrayTypeChildType(lt)).name + "[" + strconv.Itoa(d.size) + "]"
	case mapping.TypeStruct:
		var parts []string
		for i := range mapping.StructTypeChildCount(lt) {
			name := mapping.StructTypeChildName(lt, i)
			d.fields = append(d.fields, name)
			parts = append(parts, quoteName(name)+" "+child(mapping.StructTypeChildType(lt, i)).name)
		}
		d.name = "STRUCT(" + strings.Join(parts, ", ") + ")"
	case mapping.TypeMap:
		d.name = "MAP(" + child(mapping.MapTypeKeyType(lt)).name + ", " + child(mapping.MapTypeValueType(lt)).name + ")"
	}
	return d
}

// open points the decoder at a vector, which must outlive its use.
func (d *decoder) open(vec mapping.Vector) {
	d.data, d.validity = mapping.VectorGetData(vec), mapping.VectorGetValidity(vec)
	switch d.id {
	case mapping.TypeList:
		d.children[0].open(mapping.ListVectorGetChild(vec))
	case mapping.TypeArray:
		d.children[0].open(mapping.ArrayVectorGetChild(vec))
	case mapping.TypeStruct:
		for i, c := range d.children {
			c.open(mapping.StructVectorGetChild(vec, mapping.IdxT(i)))
		}
	case mapping.TypeMap:
		entries := mapping.ListVectorGetChild(vec)
		for i, c := range d.children {
			c.open(mapping.StructVectorGetChild(entries, mapping.IdxT(i)))
		}
	}
}

// textBytes is the length of the first n texts of a vector, 0 for other types.
func (d *decoder) textBytes(vec mapping.Vector, n int) int64 {
	if d.id != mapping.TypeVarchar && d.id != mapping.TypeBlob {
		return 0
	}
	var sum int64
	data, validity := mapping.VectorGetData(vec), mapping.VectorGetValidity(vec)
	for i := range n {
		if validity == nil || *at[uint64](validity, i/64)>>(i%64)&1 == 1 {
			sum += int64(at[stringT](data, i).length)
		}
	}
	return sum
}

var errResultType = errors.New("the type cannot be sent, cast it to VARCHAR")

// value is the i-th value.
func (d *decoder) value(i int) (row.Value, error) {
	if d.validity != nil && *at[uint64](d.validity, i/64)>>(i%64)&1 == 0 {
		return row.Value{}, nil
	}
	switch d.id {
	case mapping.TypeSQLNull:
		return row.Value{}, nil
	case mapping.TypeBoolean:
		return row.BoolValue(*at[bool](d.data, i)), nil
	case mapping.TypeTinyInt:
		return row.IntValue(row.SmallInt, int64(*at[int8](d.data, i))), nil
	case mapping.TypeUTinyInt:
		return row.IntValue(row.SmallInt, int64(*at[uint8](d.data, i))), nil
	case mapping.TypeSmallInt:
		return row.IntValue(row.SmallInt, int64(*at[int16](d.data, i))), nil
	case mapping.TypeUSmallInt:
		return row.IntValue(row.Int, int64(*at[uint16](d.data, i))), nil
	case mapping.TypeInteger:
		return row.IntValue(row.Int, int64(*at[int32](d.data, i))), nil
	case mapping.TypeUInteger:
		return row.IntValue(row.BigInt, int64(*at[uint32](d.data, i))), nil
	case mapping.TypeBigInt:
		return row.IntValue(row.BigInt, *at[int64](d.data, i)), nil
	case mapping.TypeUBigInt:
		return row.HugeIntValue(0, *at[uint64](d.data, i)), nil
	case mapping.TypeHugeInt:
		h := *at[hugeInt](d.data, i)
		return row.HugeIntValue(h.upper, h.lower), nil
	case mapping.TypeUHugeInt:
		h := *at[hugeInt](d.data, i)
		if h.upper >= 0 {
			return row.HugeIntValue(h.upper, h.lower), nil
		}
		b := new(big.Int).SetUint64(uint64(h.upper))
		return row.TextValue(b.Lsh(b, 64).Add(b, new(big.Int).SetUint64(h.lower)).String()), nil
	case mapping.TypeFloat:
		return row.FloatValue(*at[float32](d.data, i)), nil
	case mapping.TypeDouble:
		return row.DoubleValue(*at[float64](d.data, i)), nil
	case mapping.TypeDecimal:
		return d.decimal(i)
	case mapping.TypeDate:
		return row.IntValue(row.Date, int64(*at[int32](d.data, i))), nil
	case mapping.TypeTime:
		return row.IntValue(row.Time, *at[int64](d.data, i)), nil
	case mapping.TypeTimeNS:
		return row.IntValue(row.Time, *at[int64](d.data, i)/1000), nil
	case mapping.TypeTimestamp, mapping.TypeTimestampTZ:
		return row.IntValue(row.Timestamp, *at[int64](d.data, i)), nil
	case mapping.TypeTimestampS:
		return scaledTimestamp(*at[int64](d.data, i), 1_000_000, 1), nil
	case mapping.TypeTimestampMS:
		return scaledTimestamp(*at[int64](d.data, i), 1_000, 1), nil
	case mapping.TypeTimestampNS:
		return scaledTimestamp(*at[int64](d.data, i), 1, 1_000), nil
	case mapping.TypeUUID:
		h := *at[hugeInt](d.data, i)
		return uuidValue(h), nil
	case mapping.TypeVarchar:
		if d.json {
			return row.JSONValue(stringAt(d.data, i)), nil
		}
		return row.TextValue(stringAt(d.data, i)), nil
	case mapping.TypeBlob:
		return row.BytesValue([]byte(stringAt(d.data, i))), nil
	}
	return d.odd(i)
}

// odd decodes the types that tables do not have.
func (d *decoder) odd(i int) (row.Value, error) {
	switch d.id {
	case mapping.TypeEnum:
		n := 0
		switch d.storage {
		case mapping.TypeUTinyInt:
			n = int(*at[uint8](d.data, i))
		case mapping.TypeUSmallInt:
			n = int(*at[uint16](d.data, i))
		default:
			n = int(*at[uint32](d.data, i))
		}
		return row.TextValue(d.labels[n]), nil
	case mapping.TypeInterval:
		return row.TextValue(intervalText(at[interval](d.data, i))), nil
	case mapping.TypeBit:
		return row.TextValue(bitText(stringAt(d.data, i))), nil
	case mapping.TypeTimeTZ:
		return row.TextValue(timeTZText(*at[uint64](d.data, i))), nil
	case mapping.TypeList:
		e := *at[listEntry](d.data, i)
		return d.list(int(e.offset), int(e.length))
	case mapping.TypeArray:
		if d.children[0].id == mapping.TypeFloat && d.children[0].validity == nil {
			return row.EmbeddingValue(unsafe.Slice(at[float32](d.children[0].data, i*d.size), d.size)), nil
		}
		return d.list(i*d.size, d.size)
	case mapping.TypeStruct:
		b := []byte{'{'}
		for k, c := range d.children {
			v, err := c.value(i)
			if err != nil {
				return row.Value{}, err
			}
			if k > 0 {
				b = append(b, ',')
			}
			b = append(row.AppendJSONString(b, d.fields[k]), ':')
			b = v.AppendJSON(b)
		}
		return row.JSONValue(string(append(b, '}'))), nil
	case mapping.TypeMap:
		e := *at[listEntry](d.data, i)
		b := []byte{'{'}
		for k := int(e.offset); k < int(e.offset+e.length); k++ {
			key, err := d.children[0].value(k)
			if err != nil {
				return row.Value{}, err
			}
			v, err := d.children[1].value(k)
			if err != nil {
				return row.Value{}, err
			}
			if k > int(e.offset) {
				b = append(b, ',')
			}
			b = append(row.AppendJSONString(b, string(key.AppendText(nil))), ':')
			b = v.AppendJSON(b)
		}
		return row.JSONValue(string(append(b, '}'))), nil
	}
	return row.Value{}, errResultType
}

func (d *decoder) list(from, n int) (row.Value, error) {
	elems := make([]row.Value, n)
	for k := range elems {
		var err error
		if elems[k], err = d.children[0].value(from + k); err != nil {
			return row.Value{}, err
		}
	}
	return row.ListValue(elems), nil
}

func (d *decoder) decimal(i int) (row.Value, error) {
	var n int64
	switch d.storage {
	case mapping.TypeSmallInt:
		n = int64(*at[int16](d.data, i))
	case mapping.TypeInteger:
		n = int64(*at[int32](d.data, i))
	case mapping.TypeBigInt:
		n = *at[int64](d.data, i)
	default:
		h := *at[hugeInt](d.data, i)
		return row.DecimalValue(h.upper, h.lower, d.scale), nil
	}
	return row.DecimalValue(n>>63, uint64(n), d.scale), nil
}

// uuidValue undoes the sign flip DuckDB stores so that UUIDs sort.
func uuidValue(h hugeInt) row.Value {
	hi := uint64(h.upper) ^ 1<<63
	var u [16]byte
	for k := range 8 {
		u[k], u[8+k] = byte(hi>>(56-8*k)), byte(h.lower>>(56-8*k))
	}
	return row.UUIDValue(u)
}

// scaledTimestamp is n·mul/div microseconds; the infinities stay what they are.
func scaledTimestamp(n, mul, div int64) row.Value {
	const inf = 1<<63 - 1
	if n == inf || n == -inf {
		return row.IntValue(row.Timestamp, n)
	}
	if div > 1 {
		q := n / div
		if n%div < 0 {
			q--
		}
		return row.IntValue(row.Timestamp, q)
	}
	return row.IntValue(row.Timestamp, n*mul)
}

// interval is DuckDB's layout of an INTERVAL.
type interval struct {
	months, days int32
	micros       int64
}

// intervalText is the interval as DuckDB writes it: 1 year 2 months 3 days 04:05:06.
func intervalText(v *interval) string {
	var parts []string
	unit := func(n int32, name string) {
		if n == 0 {
			return
		}
		if n != 1 && n != -1 {
			name += "s"
		}
		parts = append(parts, strconv.Itoa(int(n))+" "+name)
	}
	unit(v.months/12, "year")
	unit(v.months%12, "month")
	unit(v.days, "day")
	if v.micros != 0 || len(parts) == 0 {
		parts = append(parts, clockText(v.micros))
	}
	return strings.Join(parts, " ")
}

func clockText(micros int64) string {
	sign, n := "", uint64(micros)
	if micros < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%s%02d:%02d:%02d", sign, n/3_600_000_000, n/60_000_000%60, n/1_000_000%60)
	if f := n % 1_000_000; f != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%06d", f), "0")
	}
	return s
}

// bitText reads DuckDB's BIT: the number of padding bits, then the bits.
func bitText(raw string) string {
	var b strings.Builder
	for i := 1; i < len(raw); i++ {
		for k := range 8 {
			if i == 1 && k < int(raw[0]) {
				continue
			}
			b.WriteByte('0' + raw[i]>>(7-k)&1)
		}
	}
	return b.String()
}

// timeTZText reads DuckDB's TIME WITH TIME ZONE: microseconds, then the offset
// counted down from the largest.
func timeTZText(bits uint64) string {
	offset := 16*60*60 - 1 - int(bits&(1<<24-1))
	s := clockText(int64(bits >> 24))
	sign := "+"
	if offset < 0 {
		sign, offset = "-", -offset
	}
	s += fmt.Sprintf("%s%02d", sign, offset/3600)
	if m := offset / 60 % 60; m != 0 {
		s += fmt.Sprintf(":%02d", m)
	}
	return s
}
