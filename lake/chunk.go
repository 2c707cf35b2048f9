package lake

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
)

// A chunk gathers the values of some rows by column, so that they reach a Parquet writer a
// column at a time. Its text is its own: the rows are the caller's again after add.
type chunk struct {
	columns  []row.Column
	leaves   []leaf            // of the columns; there may be more behind them
	values   [][]parquet.Value // by leaf
	text     []byte            // what the texts point into
	elements int               // of the lists and embeddings
	floats   []float32         // scratch
	rows     int
}

func newChunk(columns []row.Column, leaves []leaf) chunk {
	return chunk{columns: columns, leaves: leaves, values: make([][]parquet.Value, len(leaves))}
}

// add adds a row with a value for each column. Leaves behind those of the columns are the caller's.
func (c *chunk) add(values []row.Value) error {
	for i := range values {
		if err := c.append(i, &values[i]); err != nil {
			return fmt.Errorf("column %s: %w", c.columns[i].Name, err)
		}
	}
	c.rows++
	return nil
}

func (c *chunk) full() bool {
	return c.rows == chunkRowsMax || len(c.text)+8*c.elements >= chunkBytesMax
}

// append adds the value of a column. Only lists need to say which column they are of.
func (c *chunk) append(i int, v *row.Value) error {
	lf := &c.leaves[i]
	if v.IsNull() {
		if !lf.optional {
			return corruptf("NULL in the primary key")
		}
		c.values[i] = append(c.values[i], parquet.Value{})
		return nil
	}
	switch lf.typ.Kind {
	case row.List, row.Embedding:
		return c.appendList(i, v)
	}
	p, err := c.scalar(&lf.typ, v)
	if err != nil {
		return err
	}
	if lf.optional {
		p.SetDefinitionLevel(1)
	}
	c.values[i] = append(c.values[i], p)
	return nil
}

// appendList adds a list or an embedding.
func (c *chunk) appendList(i int, v *row.Value) error {
	t := c.leaves[i].typ
	if v.Kind() != t.Kind {
		return corruptf("a %s in a column of type %s", v.Kind(), t)
	}
	add := func(v parquet.Value, rep, def int) { c.values[i] = append(c.values[i], v.Level(rep, def, i)) }
	if t.Kind == row.Embedding {
		if v.Len() != int(t.Dim) {
			return corruptf("%d floats in a column of type %s", v.Len(), t)
		}
		c.floats = v.Floats(c.floats[:0])
		c.elements += len(c.floats)
		for j, f := range c.floats {
			add(parquet.FloatValue(f), min(j, 1), 2)
		}
		return nil
	}
	elems, of := v.List(), t.ElemType()
	c.elements += len(elems)
	if len(elems) == 0 {
		add(parquet.Value{}, 0, 1)
	}
	for j := range elems {
		if elems[j].IsNull() {
			add(parquet.Value{}, min(j, 1), 2)
			continue
		}
		p, err := c.scalar(&of, &elems[j])
		if err != nil {
			return err
		}
		add(p, min(j, 1), 3)
	}
	return nil
}

// scalar is v, which is not NULL, as a Parquet value of type t.
func (c *chunk) scalar(t *row.Type, v *row.Value) (parquet.Value, error) {
	if v.Kind() != t.Kind || t.Kind == row.Decimal && v.Scale() != t.Scale {
		return parquet.Value{}, corruptf("a %s in a column of type %s", v.Kind(), *t)
	}
	switch t.Kind {
	case row.Boolean:
		return parquet.BooleanValue(v.Bool()), nil
	case row.SmallInt, row.Int, row.Date:
		return parquet.Int32Value(int32(v.Int())), nil
	case row.BigInt, row.Time, row.Timestamp:
		return parquet.Int64Value(v.Int()), nil
	case row.Float:
		return parquet.FloatValue(v.Float()), nil
	case row.Double:
		return parquet.DoubleValue(v.Double()), nil
	case row.Decimal:
		hi, lo := v.Halves()
		switch {
		case t.Precision <= int32DigitsMax:
			return parquet.Int32Value(int32(lo)), nil
		case t.Precision <= int64DigitsMax:
			return parquet.Int64Value(int64(lo)), nil
		}
		return parquet.FixedLenByteArrayValue(c.keep128(hi, lo)), nil
	case row.UUID:
		hi, lo := v.Halves()
		return parquet.FixedLenByteArrayValue(c.keep128(hi, lo)), nil
	}
	at := len(c.text)
	c.text = append(c.text, v.Str()...)
	return parquet.ByteArrayValue(c.text[at:len(c.text):len(c.text)]), nil
}

// keep128 keeps a 128-bit number. Growing the text leaves earlier values pointing into the
// old array, which holds the same bytes.
func (c *chunk) keep128(hi int64, lo uint64) []byte {
	at := len(c.text)
	c.text = binary.BigEndian.AppendUint64(c.text, uint64(hi))
	c.text = binary.BigEndian.AppendUint64(c.text, lo)
	return c.text[at:len(c.text):len(c.text)]
}

// writeTo gives the values to the writers of their columns and empties c. bytes is about
// what they have before encoding.
func (c *chunk) writeTo(columns []*parquet.ColumnWriter) (bytes int, err error) {
	bytes = len(c.text)
	for i, column := range columns {
		if _, err := column.WriteRowValues(c.values[i]); err != nil {
			return 0, fmt.Errorf("encode: %w", err)
		}
		bytes += 8 * len(c.values[i])
		c.values[i] = c.values[i][:0]
	}
	c.text, c.rows, c.elements = c.text[:0], 0, 0
	return bytes, nil
}

const (
	dictionaryRowsMin = 32  // fewer rows are not worth a dictionary
	dictionaryShare   = 4   // at most one in so many texts is different
	longTextBytes     = 128 // average from which bounds are left out
)

// shape decides from the rows of the chunk how a file that begins with them is encoded.
func (c *chunk) shape() shape {
	flags := make([]byte, len(c.columns))
	for i := range flags {
		lf := &c.leaves[i]
		k := lf.typ.Kind
		if !lf.optional || k != row.Text && k != row.JSON && k != row.Bytes {
			continue
		}
		n, size := 0, 0
		distinct := map[string]struct{}{}
		for _, v := range c.values[i] {
			if v.IsNull() {
				continue
			}
			b := v.ByteArray()
			n, size = n+1, size+len(b)
			if c.rows >= dictionaryRowsMin && len(distinct)*dictionaryShare <= c.rows {
				distinct[unsafe.String(unsafe.SliceData(b), len(b))] = struct{}{}
			}
		}
		if n >= dictionaryRowsMin && len(distinct)*dictionaryShare <= n {
			flags[i] |= shapeDictionary
		}
		if k != row.Text || n > 0 && size/n >= longTextBytes {
			flags[i] |= shapeLong
		}
	}
	return shape(flags)
}

// An openGroup counts what is written of the row group that a Parquet file ends with.
type openGroup struct {
	rowsMax     int
	rows, bytes int // bytes of values before encoding, about
}

// write gives the rows of c to w, which empties c, and ends a row group that is large enough.
func (g *openGroup) write(w *parquet.GenericWriter[any], c *chunk) (ended bool, err error) {
	g.rows += c.rows
	n, err := c.writeTo(w.ColumnWriters())
	if err != nil {
		return false, err
	}
	g.bytes += n
	if g.rows < g.rowsMax && g.bytes < groupBytesMax {
		return false, nil
	}
	g.rows, g.bytes = 0, 0
	if err := w.Flush(); err != nil {
		return false, fmt.Errorf("encode: %w", err)
	}
	return true, nil
}
