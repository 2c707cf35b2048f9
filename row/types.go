package row

import (
	"fmt"
	"strconv"
)

// A Kind is the class of a value. The numbers are written to disk: never renumber.
type Kind uint8

const (
	Null Kind = iota // only the kind of a NULL value, never of a column
	Boolean
	SmallInt
	Int
	BigInt
	Float
	Double
	Decimal // 128-bit integer with a scale
	Text
	Bytes
	Date      // days since 1970-01-01
	Time      // microseconds since midnight
	Timestamp // microseconds since 1970-01-01T00:00:00Z
	JSON      // the text of a JSON value
	UUID
	List      // of one scalar kind in columns; of anything in query results
	Embedding // a fixed number of 32-bit floats
	HugeInt   // query results only: 128-bit integer
)

var kindNames = [...]string{
	Null: "NULL", Boolean: "BOOLEAN", SmallInt: "SMALLINT", Int: "INTEGER", BigInt: "BIGINT",
	Float: "FLOAT", Double: "DOUBLE", Decimal: "DECIMAL", Text: "VARCHAR", Bytes: "BLOB",
	Date: "DATE", Time: "TIME", Timestamp: "TIMESTAMP", JSON: "JSON", UUID: "UUID",
	List: "LIST", Embedding: "EMBEDDING", HugeInt: "HUGEINT",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "KIND(" + strconv.Itoa(int(k)) + ")"
}

const (
	decimalPrecisionMax = 38
	// EmbeddingDimMax is the largest n of EMBEDDING(n).
	EmbeddingDimMax = 16384
)

// A Type is the declared type of a column. It is comparable.
type Type struct {
	Kind      Kind
	Precision uint8  // DECIMAL: 1 to 38 digits; also of the elements of a LIST of DECIMAL
	Scale     uint8  // DECIMAL: digits after the point, at most Precision
	Elem      Kind   // LIST: the scalar kind of its elements
	Dim       uint16 // EMBEDDING: the number of floats, 1 to EmbeddingDimMax
}

// String is the type as DuckDB writes it, which is also valid in a CAST:
// DECIMAL(10,2), VARCHAR[], FLOAT[3].
func (t Type) String() string {
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case List:
		return t.ElemType().String() + "[]"
	case Embedding:
		return fmt.Sprintf("FLOAT[%d]", t.Dim)
	}
	return t.Kind.String()
}

// ElemType is the type of the elements of a LIST.
func (t Type) ElemType() Type {
	return Type{Kind: t.Elem, Precision: t.Precision, Scale: t.Scale}
}

// Valid says why t is no type a column may have, or nil.
func (t Type) Valid() error {
	switch t.Kind {
	case Null, HugeInt:
		return fmt.Errorf("%s is not a column type", t.Kind)
	case Decimal:
		if t.Precision < 1 || t.Precision > decimalPrecisionMax {
			return fmt.Errorf("DECIMAL precision %d, expected 1 to %d", t.Precision, decimalPrecisionMax)
		}
		if t.Scale > t.Precision {
			return fmt.Errorf("DECIMAL scale %d is larger than its precision %d", t.Scale, t.Precision)
		}
	case List:
		if t.Elem == List || t.Elem == Embedding {
			return fmt.Errorf("a list of %s is not supported, expected a list of a scalar type", t.Elem)
		}
		return t.ElemType().Valid()
	case Embedding:
		if t.Dim < 1 || t.Dim > EmbeddingDimMax {
			return fmt.Errorf("EMBEDDING of %d floats, expected 1 to %d", t.Dim, EmbeddingDimMax)
		}
	}
	return nil
}

// Keyable says whether a column of type t may be part of a primary key: every
// scalar type but JSON.
func (t Type) Keyable() bool {
	switch t.Kind {
	case JSON, List, Embedding, Null, HugeInt:
		return false
	}
	return true
}
