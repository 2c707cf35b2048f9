package row

import (
	"encoding/base64"
	"fmt"
)

// A Mapping brings rows of one table into one version of its schema, whatever
// version they were written with: column by column by id, so that a rename keeps the
// values and a column that was dropped and added again does not get the old ones.
// Columns that a row is older than have their [Column.Initial]; values of a type that
// has been widened since become values of the wider type. The other way, from a newer
// version to an older one, columns that have gone are NULL, and so are values that do
// not fit the narrower type.
//
// It is for one goroutine: it remembers the version it saw last.
type Mapping struct {
	to      *Schema
	at      func(version uint32) *Schema
	version uint32  // of the fields below; 0: none yet
	prefix  bool    // the values are there in order, and perhaps more behind them
	places  []place // one per column of to
}

// A place is where a column of the target is in the values of a source row.
type place struct {
	index   int  // -1: the row does not have the column
	convert bool // the type differs
}

// NewMapping is a Mapping to the version to. at finds the other versions, and gives nil
// for those that never were; if at is nil, every row is taken for one of to.
func NewMapping(to *Schema, at func(version uint32) *Schema) *Mapping {
	return &Mapping{to: to, at: at}
}

// Row is r in the version of m: r itself if it is, else another row that shares no
// slice with r that anybody changes.
func (m *Mapping) Row(r *Row) (*Row, error) {
	if r.Schema == m.to.Version || m.at == nil {
		return r, nil
	}
	values, err := m.Values(r.Schema, r.Values)
	if err != nil {
		return nil, err
	}
	mapped := *r
	mapped.Schema, mapped.Values = m.to.Version, values
	return &mapped, nil
}

// Values are the values of a row that was written with the given version, one per
// column of m's version. It may be a part of the given slice.
func (m *Mapping) Values(version uint32, values []Value) ([]Value, error) {
	if version == m.to.Version || m.at == nil {
		return values, nil
	}
	if version != m.version {
		if err := m.prepare(version); err != nil {
			return nil, err
		}
	}
	if m.prefix && len(values) >= len(m.places) {
		return values[:len(m.places):len(m.places)], nil
	}
	mapped := make([]Value, len(m.places))
	for i, p := range m.places {
		switch {
		case p.index < 0:
			mapped[i] = m.to.Columns[i].Initial
		case p.index >= len(values):
			return nil, fmt.Errorf("%w: %d values in a row of schema version %d", errCorrupt, len(values), version)
		case p.convert:
			if v, err := Coerce(values[p.index], m.to.Columns[i].Type); err == nil {
				mapped[i] = v
			}
		default:
			mapped[i] = values[p.index]
		}
	}
	return mapped, nil
}

func (m *Mapping) prepare(version uint32) error {
	from := m.at(version)
	if from == nil {
		return fmt.Errorf("a row has the schema version %d, which its table never had", version)
	}
	m.version, m.prefix = version, true
	m.places = make([]place, len(m.to.Columns))
	for i := range m.to.Columns {
		c := &m.to.Columns[i]
		p := place{index: from.Index(c.ID)}
		p.convert = p.index >= 0 && from.Columns[p.index].Type != c.Type
		m.prefix = m.prefix && p.index == i && !p.convert
		m.places[i] = p
	}
	return nil
}

// intDigits are the decimal digits that the integer kinds need.
var intDigits = map[Kind]uint8{SmallInt: 5, Int: 10, BigInt: 19}

// WidensTo says why a column of type t cannot become one of type to, or nil: it can if
// every value of t is one of to, unchanged.
func (t Type) WidensTo(to Type) error {
	if t == to {
		return nil
	}
	digits, isInt := intDigits[t.Kind]
	switch {
	case isInt && intDigits[to.Kind] >= digits:
		return nil
	case isInt && to.Kind == Decimal:
		if to.Precision-to.Scale < digits {
			return fmt.Errorf("%s has up to %d digits before the point, %s has %d", t, digits, to, to.Precision-to.Scale)
		}
		return nil
	case (t.Kind == SmallInt || t.Kind == Int || t.Kind == Float) && to.Kind == Double, t.Kind == SmallInt && to.Kind == Float:
		return nil
	case t.Kind == Decimal && to.Kind == Decimal:
		if to.Scale < t.Scale || to.Precision-to.Scale < t.Precision-t.Scale {
			return fmt.Errorf("%s has %d digits before the point and %d behind it, %s has %d and %d",
				t, t.Precision-t.Scale, t.Scale, to, to.Precision-to.Scale, to.Scale)
		}
		return nil
	case t.Kind == List && to.Kind == List:
		return t.ElemType().WidensTo(to.ElemType())
	}
	return fmt.Errorf("some values of %s would change as %s", t, to)
}

// MarshalText is v in base64 of the bytes of AppendValue, which keep every bit of it.
func (v Value) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, AppendValue(nil, v)), nil
}

// UnmarshalText reads what MarshalText wrote.
func (v *Value) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("value %q: %w", text, err)
	}
	got, rest, err := DecodeValue(b)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%w: %d bytes behind a value", errCorrupt, len(rest))
	}
	if err != nil {
		return err
	}
	*v = got
	return nil
}
