package kalamdb

import (
	"bytes"
	"slices"

	"kalamdb/catalog"
	"kalamdb/ingest"
	"kalamdb/query"
	"kalamdb/row"
)

// ownWrites are the rows of one partition that a transaction has changed: whatever it
// did to a row is folded to what it was at the moment of the transaction and what it
// is now.
type ownWrites struct {
	partition row.Partition
	table     *catalog.Table
	frozen    *frozenPartition
	rows      []*ownRow // in the order of their first change
	byKey     map[string]*ownRow

	sorted []*ownRow // by key, at least once the rows are read
}

// An ownRow is one row that a transaction has changed.
type ownRow struct {
	key  []byte
	base *row.Row // the version of the moment; nil if there was none, or a deleted one
	now  row.Row
}

// add folds m into what happened to its row before.
func (o *ownWrites) add(m *ingest.Mutation, now int64) (r *ownRow, isNew bool, err error) {
	r = o.byKey[string(m.Key)]
	switch {
	case r == nil:
		r, isNew = &ownRow{key: m.Key, base: m.Old}, true
		o.byKey[string(m.Key)] = r
		o.rows = append(o.rows, r)
	case m.Op == row.Insert && !r.now.Deleted:
		return nil, false, &ingest.DuplicateError{Partition: o.partition, Key: m.Key}
	}
	r.now = row.Row{Updated: now, Deleted: m.Op == row.Delete, Schema: o.table.Schema().Version, Values: m.Values}
	return r, isNew, nil
}

// mutation is what the transaction did to the row; changed is false if that is nothing.
func (r *ownRow) mutation() (m ingest.Mutation, changed bool) {
	m = ingest.Mutation{Op: row.Update, Key: r.key, Values: r.now.Values, Old: r.base}
	switch {
	case r.base == nil && r.now.Deleted:
		return m, false
	case r.base == nil:
		m.Op = row.Insert
	case r.now.Deleted:
		m.Op, m.Values = row.Delete, r.base.Values
	}
	return m, true
}

// over is hot with the changed rows in the place of its own. Rows that are not committed
// have the Seq 0.
func (o *ownWrites) over(hot query.Hot) query.Hot {
	if len(o.sorted) != len(o.rows) {
		o.sorted = append(o.sorted, o.rows[len(o.sorted):]...)
		slices.SortFunc(o.sorted, func(a, b *ownRow) int { return bytes.Compare(a.key, b.key) })
	}
	return &overlaid{hot: hot, own: o}
}

// overlaid is the rows that one statement of a transaction sees. Nothing changes them
// while it runs.
type overlaid struct {
	hot query.Hot
	own *ownWrites
}

func (o *overlaid) Len() int { return o.hot.Len() + len(o.own.rows) }

func (o *overlaid) Get(key []byte) (row.Row, bool, error) {
	if r := o.own.byKey[string(key)]; r != nil {
		return r.now, true, nil
	}
	return o.hot.Get(key)
}

func (o *overlaid) Scan(from, to []byte, yield func(key []byte, r *row.Row) bool) error {
	own := o.own.sorted
	at, _ := slices.BinarySearchFunc(own, from, func(r *ownRow, key []byte) int { return bytes.Compare(r.key, key) })
	own = own[at:]
	if to != nil {
		end, _ := slices.BinarySearchFunc(own, to, func(r *ownRow, key []byte) int { return bytes.Compare(r.key, key) })
		own = own[:end]
	}
	stopped := false
	next := func() bool {
		r := own[0].now // yield may change what it gets
		stopped = !yield(own[0].key, &r)
		own = own[1:]
		return !stopped
	}
	err := o.hot.Scan(from, to, func(key []byte, r *row.Row) bool {
		for len(own) > 0 {
			c := bytes.Compare(own[0].key, key)
			if c > 0 {
				break
			}
			if !next() {
				return false
			}
			if c == 0 {
				return true
			}
		}
		stopped = !yield(key, r)
		return !stopped
	})
	for err == nil && !stopped && len(own) > 0 {
		next()
	}
	return err
}
