package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"kalamdb/storagelocations"
)

// A Catalog answers from memory and changes the bucket first. It is safe for
// concurrent use. Questions take no lock and do no I/O.
type Catalog struct {
	store
	state   atomic.Pointer[state]
	onUsers func() // see OnUsers; nil for none
}

// Open reads the catalog in b and makes sure that the namespace default exists.
func Open(ctx context.Context, b storagelocations.Bucket) (*Catalog, error) {
	c := &Catalog{store: store{bucket: b, entries: map[string]entry{}, unsure: map[string]struct{}{}}}
	if err := c.load(ctx); err != nil {
		return nil, fmt.Errorf("open catalog in %s: %w", b.URL(), err)
	}
	if err := c.finishRestores(ctx); err != nil {
		return nil, fmt.Errorf("open catalog in %s: %w", b.URL(), err)
	}
	if err := c.heal(ctx); err != nil {
		return nil, fmt.Errorf("open catalog in %s: %w", b.URL(), err)
	}
	return c, nil
}

// A Damage is a document that cannot be understood.
type Damage struct {
	Object string
	Err    error
}

// Inspect is the catalog in b for one who must not change it: nothing is written, and the
// namespaces that must exist are there without a document. Documents that cannot be
// understood are left out and reported.
func Inspect(ctx context.Context, b storagelocations.Bucket) (*Catalog, []Damage, error) {
	c := &Catalog{store: store{bucket: b, entries: map[string]entry{}, unsure: map[string]struct{}{}, tolerant: true}}
	if err := c.load(ctx); err != nil {
		return nil, nil, fmt.Errorf("read catalog in %s: %w", b.URL(), err)
	}
	s := *c.state.Load()
	for _, name := range s.neededNamespaces() {
		if _, ok := s.namespaces[name]; !ok {
			s.namespaces[name] = &namespaceJSON{Name: name}
		}
	}
	c.publish(&s)
	return c, c.damage, nil
}

// neededNamespaces must exist: default, and those of tables.
func (s *state) neededNamespaces() []string {
	needed := map[string]struct{}{DefaultName: {}}
	for key := range s.tables {
		needed[key.namespace] = struct{}{}
	}
	return slices.Sorted(maps.Keys(needed))
}

// heal makes the namespaces that must exist: default, and those of tables. One whose
// document was lost, or dropped by a server that did not know the table yet, must not
// hide its tables.
func (c *Catalog) heal(ctx context.Context) error {
	c.change.Lock()
	defer c.change.Unlock()
	for _, name := range c.state.Load().neededNamespaces() {
		if _, ok := c.state.Load().namespaces[name]; ok {
			continue
		}
		now := time.Now().UTC()
		err := c.overwrite(ctx, namespaceDoc(name), &document{Namespace: &namespaceJSON{Name: name, Created: now, Updated: now}})
		if _, ok := c.state.Load().namespaces[name]; !ok { // by us or by another server
			return fmt.Errorf("create namespace %s: %w", name, err)
		}
	}
	return nil
}

// Settle reads again what the bucket did not answer for, so that memory is equal to
// the bucket. Every change begins with it; call it to be sure earlier.
func (c *Catalog) Settle(ctx context.Context) error {
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	end()
	return nil
}

// Version changes with every change of the catalog: what was made of Tables and the
// other lists is still right while it is the same.
func (c *Catalog) Version() uint64 { return c.state.Load().version }

// Tables are all tables, by name, without dropped ones. Callers share the list: nobody
// changes it.
func (c *Catalog) Tables() []*Table { return c.state.Load().sorted() }

// TablesIn are the tables of a namespace, by name. Callers share the list.
func (c *Catalog) TablesIn(namespace string) []*Table {
	all := c.Tables()
	before := func(t *Table, name string) int { return strings.Compare(t.Ref.Namespace, name) }
	from, _ := slices.BinarySearchFunc(all, namespace, before)
	n, _ := slices.BinarySearchFunc(all[from:], namespace+"\x00", before)
	return all[from : from+n : from+n]
}

// Dropped are the tables that were dropped but not forgotten: their data may still be there.
func (c *Catalog) Dropped() []*Table {
	var dropped []*Table
	for _, t := range c.state.Load().byID {
		if t.Dropped {
			dropped = append(dropped, t)
		}
	}
	slices.SortFunc(dropped, compareTables)
	return dropped
}

func compareTables(a, b *Table) int {
	if c := strings.Compare(a.Ref.Namespace, b.Ref.Namespace); c != 0 {
		return c
	}
	if c := strings.Compare(a.Ref.Name, b.Ref.Name); c != 0 {
		return c
	}
	return a.Created.Compare(b.Created)
}

// Table is the table of that name, or a [NotFoundError].
func (c *Catalog) Table(namespace, name string) (*Table, error) {
	s := c.state.Load()
	if t, ok := s.tables[tableKey{namespace, name}]; ok {
		return t, nil
	}
	return nil, notFound("table", namespace+"."+name, s.names())
}

// TableByID is the table with that id, also if it is dropped.
func (c *Catalog) TableByID(id uint64) (*Table, bool) {
	t, ok := c.state.Load().byID[id]
	return t, ok
}

// Namespaces are all namespaces, by name.
func (c *Catalog) Namespaces() []Namespace {
	s := c.state.Load()
	all := make([]Namespace, 0, len(s.namespaces))
	for _, name := range slices.Sorted(maps.Keys(s.namespaces)) {
		all = append(all, s.namespaces[name].namespace())
	}
	return all
}

// Namespace is the namespace of that name, or a [NotFoundError].
func (c *Catalog) Namespace(name string) (Namespace, error) {
	s := c.state.Load()
	if n, ok := s.namespaces[name]; ok {
		return n.namespace(), nil
	}
	return Namespace{}, notFound("namespace", name, slices.Sorted(maps.Keys(s.namespaces)))
}

// Locations are all storage locations, by name.
func (c *Catalog) Locations() []Location {
	all := []Location{c.defaultLocation()}
	for _, l := range c.state.Load().locations {
		all = append(all, l.location())
	}
	slices.SortFunc(all, func(a, b Location) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Location is the storage location of that name, or a [NotFoundError].
func (c *Catalog) Location(name string) (Location, error) {
	if name == DefaultName {
		return c.defaultLocation(), nil
	}
	s := c.state.Load()
	if l, ok := s.locations[name]; ok {
		return l.location(), nil
	}
	return Location{}, notFound("storage location", name, append(slices.Sorted(maps.Keys(s.locations)), DefaultName))
}

// Refresh reads the documents that have changed since they were read last, for one who
// follows another server's catalog: see Inspect.
func (c *Catalog) Refresh(ctx context.Context) error {
	c.change.Lock()
	defer c.change.Unlock()
	there := map[string]bool{}
	for info, err := range c.bucket.List(ctx, folder) {
		if err != nil {
			return fmt.Errorf("refresh catalog: %w", err)
		}
		if !strings.HasSuffix(info.Name, suffix) {
			continue
		}
		there[info.Name] = true
		if e, ok := c.entries[info.Name]; ok && e.etag == info.ETag {
			continue
		}
		e, err := c.read(ctx, info.Name)
		if err != nil {
			return fmt.Errorf("refresh catalog: %w", err)
		}
		c.saw(info.Name, e)
	}
	for _, name := range slices.Sorted(maps.Keys(c.entries)) {
		if !there[name] {
			c.saw(name, entry{})
		}
	}
	return nil
}
