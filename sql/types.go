package sql

import (
	"strconv"

	"kalamdb/row"
)

// typeNames are the names of scalar types, as DuckDB has them and a few of the
// PostgreSQL and MySQL habit.
var typeNames = map[string]row.Kind{
	"boolean": row.Boolean, "bool": row.Boolean, "logical": row.Boolean,
	"smallint": row.SmallInt, "int2": row.SmallInt, "short": row.SmallInt,
	"int": row.Int, "integer": row.Int, "int4": row.Int, "signed": row.Int,
	"bigint": row.BigInt, "int8": row.BigInt, "long": row.BigInt,
	"float": row.Float, "real": row.Float, "float4": row.Float,
	"double": row.Double, "float8": row.Double,
	"decimal": row.Decimal, "numeric": row.Decimal, "dec": row.Decimal,
	"text": row.Text, "string": row.Text, "varchar": row.Text, "char": row.Text, "bpchar": row.Text, "character": row.Text, "nvarchar": row.Text,
	"bytes": row.Bytes, "bytea": row.Bytes, "blob": row.Bytes, "binary": row.Bytes, "varbinary": row.Bytes,
	"date": row.Date, "time": row.Time, "timestamp": row.Timestamp, "datetime": row.Timestamp,
	"json": row.JSON, "uuid": row.UUID,
}

// typeHints are types of other databases, and what to write instead.
var typeHints = map[string]string{
	"serial": "write BIGINT AUTO_INCREMENT", "bigserial": "write BIGINT AUTO_INCREMENT", "smallserial": "write BIGINT AUTO_INCREMENT",
	"timestamptz": "write TIMESTAMP, which is UTC", "timetz": "write TIME", "jsonb": "write JSON",
	"hugeint": "write DECIMAL(38,0)", "uhugeint": "write DECIMAL(38,0)", "tinyint": "write SMALLINT", "int1": "write SMALLINT",
	"utinyint": "write SMALLINT", "usmallint": "write INTEGER", "uinteger": "write BIGINT", "ubigint": "write DECIMAL(20,0)",
	"vector": "write EMBEDDING(n)", "struct": "write JSON", "map": "write JSON", "union": "write JSON", "object": "write JSON",
	"enum": "write TEXT", "interval": "write BIGINT or TEXT", "bit": "write TEXT", "clob": "write TEXT",
	"timestamp_s": "write TIMESTAMP", "timestamp_ms": "write TIMESTAMP", "timestamp_ns": "write TIMESTAMP", "timestamp_us": "write TIMESTAMP",
}

var typeNamesSorted = []string{
	"ARRAY", "BIGINT", "BLOB", "BOOLEAN", "BYTES", "CHAR", "DATE", "DATETIME", "DECIMAL", "DOUBLE", "EMBEDDING", "FLOAT", "INT", "INTEGER",
	"JSON", "NUMERIC", "REAL", "SMALLINT", "STRING", "TEXT", "TIME", "TIMESTAMP", "UUID", "VARCHAR",
}

// columnType reads the type of a column.
func (p *parser) columnType() (row.Type, error) {
	pos := p.tok.start
	t, err := p.baseType()
	if err != nil {
		return t, err
	}
	for p.sym('[') {
		if t, err = p.brackets(t); err != nil {
			return t, err
		}
	}
	if err := t.Valid(); err != nil {
		return t, p.errorAt(pos, CodeInvalidType, err.Error(), "")
	}
	return t, nil
}

// baseType reads a type up to the brackets that make it a list.
func (p *parser) baseType() (row.Type, error) {
	if p.tok.kind != tokWord && p.tok.kind != tokQuoted {
		return row.Type{}, p.unexpected("a type")
	}
	pos, raw := p.tok.start, p.raw()
	word, _, err := p.name("a type")
	if err != nil {
		return row.Type{}, err
	}
	switch word {
	case "array":
		return p.arrayType()
	case "embedding":
		return p.embeddingType()
	}
	kind, ok := typeNames[word]
	if !ok {
		hint := typeHints[word]
		if near, ok := Nearest(word, typeNamesSorted); ok && hint == "" {
			hint = "did you mean " + near + "?"
		}
		return row.Type{}, p.errorAt(pos, CodeInvalidType, "found the unknown type "+clip(raw), hint)
	}
	t := row.Type{Kind: kind}
	switch kind {
	case row.Decimal:
		t.Precision, t.Scale = 18, 3
		if p.sym('(') {
			err = p.decimalArgs(&t)
		}
	case row.Double:
		if word == "double" {
			p.accept("PRECISION")
		}
	case row.Text:
		if word == "character" || word == "char" {
			p.accept("VARYING")
		}
		if p.acceptSym('(') { // a length, which DuckDB does not enforce either
			if _, err = p.typeArg("a length", 1<<31-1); err == nil {
				err = p.expectSym(')')
			}
		}
	case row.Time, row.Timestamp:
		err = p.timeZone(pos)
	}
	return t, err
}

func (p *parser) decimalArgs(t *row.Type) error {
	p.advance()
	pos := p.tok.start
	precision, err := p.typeArg("the number of digits", 1000)
	scale := 0
	if err == nil && p.acceptSym(',') {
		scale, err = p.typeArg("the number of digits behind the point", 1000)
	}
	if err != nil {
		return err
	}
	if precision < 1 || precision > 38 || scale > precision {
		return p.errorAt(pos, CodeInvalidType, "found DECIMAL("+strconv.Itoa(precision)+","+strconv.Itoa(scale)+
			"), expected 1 to 38 digits and at most as many behind the point", "")
	}
	t.Precision, t.Scale = uint8(precision), uint8(scale)
	return p.expectSym(')')
}

// timeZone reads WITHOUT TIME ZONE and refuses WITH TIME ZONE.
func (p *parser) timeZone(pos int) error {
	if p.is("WITH") && p.tokenIs(p.ahead(), "TIME") {
		return p.errorAt(pos, CodeInvalidType, "found a type WITH TIME ZONE", "write TIMESTAMP, which is UTC")
	}
	if p.accept("WITHOUT") {
		return p.expect("TIME", "ZONE")
	}
	return nil
}

func (p *parser) arrayType() (row.Type, error) {
	if err := p.expectSym('<'); err != nil {
		return row.Type{}, err
	}
	elem, err := p.columnType()
	if err != nil {
		return elem, err
	}
	return listOf(elem), p.expectSym('>')
}

func listOf(elem row.Type) row.Type {
	return row.Type{Kind: row.List, Elem: elem.Kind, Precision: elem.Precision, Scale: elem.Scale}
}

func (p *parser) embeddingType() (row.Type, error) {
	if err := p.expectSym('('); err != nil {
		return row.Type{}, err
	}
	dim, err := p.dim()
	if err != nil {
		return row.Type{}, err
	}
	return row.Type{Kind: row.Embedding, Dim: dim}, p.expectSym(')')
}

// brackets reads [] and [n] behind an element type.
func (p *parser) brackets(elem row.Type) (row.Type, error) {
	pos := p.tok.start
	p.advance()
	if p.acceptSym(']') {
		return listOf(elem), nil
	}
	dim, err := p.dim()
	if err != nil {
		return elem, err
	}
	if elem.Kind != row.Float {
		return elem, p.errorAt(pos, CodeInvalidType, "found an array of fixed size of "+elem.String()+", expected FLOAT["+
			strconv.Itoa(int(dim))+"]", "write "+elem.String()+"[] for a list of any size")
	}
	return row.Type{Kind: row.Embedding, Dim: dim}, p.expectSym(']')
}

func (p *parser) dim() (uint16, error) {
	pos := p.tok.start
	n, err := p.typeArg("the number of floats", 1<<31-1)
	if err == nil && (n < 1 || n > row.EmbeddingDimMax) {
		err = p.errorAt(pos, CodeInvalidType, "found EMBEDDING of "+strconv.Itoa(n)+" floats, expected 1 to "+strconv.Itoa(row.EmbeddingDimMax), "")
	}
	return uint16(n), err
}

// typeArg reads a whole number.
func (p *parser) typeArg(what string, most int) (int, error) {
	n, err := strconv.Atoi(p.raw())
	if p.tok.kind != tokNumber || err != nil || n > most {
		return 0, p.unexpected(what)
	}
	p.advance()
	return n, nil
}
