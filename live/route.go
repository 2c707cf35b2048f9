package live

import (
	"context"
	"fmt"
	"slices"

	"kalamdb/row"
)

// routes are the feeds of a partition that see rows in one version of its schema, in an
// order that finds those that a change may concern: by the value of a column for a feed
// whose filter asks for certain values of it, all others one by one.
type routes struct {
	schema  *row.Schema
	mapping *row.Mapping // to schema
	feeds   map[*feed]struct{}
	scan    []*feed // those that every change may concern
	columns []columnRoutes
	touched []*feed // by the batch at hand
}

// columnRoutes find feeds by the value of one column.
type columnRoutes struct {
	column int // in routes.schema
	feeds  map[row.Value][]*feed
}

func newRoutes(sel *Selection) *routes {
	return &routes{schema: sel.Schema, mapping: row.NewMapping(sel.Schema, sel.SchemaAt), feeds: map[*feed]struct{}{}}
}

// sees says whether sel sees rows in the version of r.
func (r *routes) sees(sel *Selection) bool {
	return r.schema.Version == sel.Schema.Version
}

func (r *routes) add(f *feed) {
	r.feeds[f] = struct{}{}
	if f.equal == nil {
		r.scan = append(r.scan, f)
		return
	}
	at := slices.IndexFunc(r.columns, func(c columnRoutes) bool { return c.column == f.equal.Column })
	if at < 0 {
		at = len(r.columns)
		r.columns = append(r.columns, columnRoutes{column: f.equal.Column, feeds: map[row.Value][]*feed{}})
	}
	for _, v := range f.equal.Values {
		r.columns[at].feeds[v] = append(r.columns[at].feeds[v], f)
	}
}

func (r *routes) remove(f *feed) {
	delete(r.feeds, f)
	if f.equal == nil {
		r.scan = without(r.scan, f)
		return
	}
	at := slices.IndexFunc(r.columns, func(c columnRoutes) bool { return c.column == f.equal.Column })
	feeds := r.columns[at].feeds
	for _, v := range f.equal.Values {
		if left := without(feeds[v], f); len(left) > 0 {
			feeds[v] = left
		} else {
			delete(feeds, v)
		}
	}
	if len(feeds) == 0 {
		r.columns = slices.Delete(r.columns, at, at+1)
	}
}

// without is list without f, in another order.
func without(list []*feed, f *feed) []*feed {
	if i := slices.Index(list, f); i >= 0 {
		list[i] = list[len(list)-1]
		list[len(list)-1] = nil
		list = list[:len(list)-1]
	}
	return list
}

// hand gives b to the feeds that it may concern, and appends the subscriptions that
// this ended.
func (r *routes) hand(ctx context.Context, b *row.Batch, ended []*Subscription) []*Subscription {
	mapped, err := inSchema(b, r.schema.Version, r.mapping)
	if err != nil {
		for f := range r.feeds {
			ended = f.fail(fmt.Errorf("live query %s: %w", f.sel.Query, err), ended)
		}
		return ended
	}
	for _, f := range r.scan {
		ended = f.hand(ctx, mapped, ended)
	}
	for i := range r.columns {
		r.touch(&r.columns[i], mapped)
	}
	for _, f := range r.touched {
		part := mapped
		if len(f.hits) < len(mapped.Changes) {
			part = &row.Batch{Partition: b.Partition, More: b.More, Changes: make([]row.Change, len(f.hits))}
			for i, hit := range f.hits {
				part.Changes[i] = mapped.Changes[hit]
			}
		}
		f.hits = f.hits[:0]
		ended = f.hand(ctx, part, ended)
	}
	clear(r.touched)
	r.touched = r.touched[:0]
	return ended
}

// touch notes in each feed the changes of b that have or had one of its values.
func (r *routes) touch(c *columnRoutes, b *row.Batch) {
	hit := func(v row.Value, change int) {
		for _, f := range c.feeds[v] {
			switch n := len(f.hits); {
			case n == 0:
				r.touched = append(r.touched, f)
			case f.hits[n-1] == int32(change):
				continue
			}
			f.hits = append(f.hits, int32(change))
		}
	}
	for i := range b.Changes {
		change := &b.Changes[i]
		v := change.New.Values[c.column]
		hit(v, i)
		if change.Old != nil {
			if old := change.Old.Values[c.column]; old != v {
				hit(old, i)
			}
		}
	}
}

// inSchema is b with all rows in a version of the schema: b itself if they are, else
// another one, as others have b too.
func inSchema(b *row.Batch, version uint32, m *row.Mapping) (*row.Batch, error) {
	if !slices.ContainsFunc(b.Changes, func(c row.Change) bool { return c.New.Schema != version || c.Old != nil && c.Old.Schema != version }) {
		return b, nil
	}
	mapped := *b
	mapped.Changes = slices.Clone(b.Changes)
	for i := range mapped.Changes {
		c := &mapped.Changes[i]
		r, err := m.Row(&c.New)
		if err != nil {
			return nil, err
		}
		c.New = *r
		if c.Old != nil {
			if c.Old, err = m.Row(c.Old); err != nil {
				return nil, err
			}
		}
	}
	return &mapped, nil
}
