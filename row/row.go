package row

// A Row is one version of one row. A deleted row keeps the values it had.
type Row struct {
	Seq     Seq     // the commit that made this version
	Updated int64   // when, in µs since 1970-01-01T00:00:00Z
	Deleted bool    // this version says that the row is gone
	Schema  uint32  // the schema version Values follow
	Values  []Value // one per column of that version, in its order
}

// Clone is r with memory of its own: see [DecodeRow] for when that matters.
func (r Row) Clone() Row {
	values := make([]Value, len(r.Values))
	for i, v := range r.Values {
		values[i] = v.Clone()
	}
	r.Values = values
	return r
}

// Bytes is the memory r needs, in bytes, for limits and accounting.
func (r Row) Bytes() int {
	n := 48
	for _, v := range r.Values {
		n += v.Bytes()
	}
	return n
}

// An Op is what a change did. The numbers are written to disk: never renumber.
type Op uint8

const (
	Insert Op = 1 + iota
	Update
	Delete
)

func (o Op) String() string {
	switch o {
	case Insert:
		return "INSERT"
	case Update:
		return "UPDATE"
	case Delete:
		return "DELETE"
	}
	return "OP?"
}

// A Change is one committed row version with what it replaced.
type Change struct {
	Op  Op
	Key []byte // primary key as AppendKey writes it
	New Row    // for Delete: Deleted is true and Values are those the row had
	Old *Row   // nil for Insert; the version that New replaced otherwise
}

// A Batch is what one commit did to one partition, in order of Seq. It is durable.
// Receivers share it: nobody changes it.
type Batch struct {
	Partition Partition
	Changes   []Change // at least one
	More      bool     // another Batch of the same commit follows
}

// First is the Seq of the first change.
func (b *Batch) First() Seq { return b.Changes[0].New.Seq }

// Last is the Seq of the last change.
func (b *Batch) Last() Seq { return b.Changes[len(b.Changes)-1].New.Seq }

// Bytes is the memory b needs, in bytes, for limits and accounting.
func (b *Batch) Bytes() int {
	n := 0
	for _, c := range b.Changes {
		n += 64 + len(c.Key) + c.New.Bytes()
		if c.Old != nil {
			n += c.Old.Bytes()
		}
	}
	return n
}
