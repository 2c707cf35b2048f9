package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamdb/storagelocations"
)

const (
	loadConcurrency = 32
	readBackTimeout = 5 * time.Second
	removeTimeout   = 30 * time.Second
	// goneGrace is how long a document that says "gone" is left alone by others:
	// until its remover, who has removeTimeout, has surely deleted it or given up.
	goneGrace = 2 * removeTimeout
)

// A state is everything the catalog knows at one moment. A published state and its
// maps never change; a change publishes a new one.
type state struct {
	namespaces map[string]*namespaceJSON
	locations  map[string]*locationJSON
	tables     map[tableKey]*Table    // those that are not dropped
	byID       map[uint64]*Table      // dropped ones too
	users      [userShards]*userShard // nil for one without users
	apiKeys    map[string]*APIKey     // by id

	sortedUsers func() []*UserRow // made when first needed
	version     uint64            // one more than that of the state before
	names       func() []string   // namespace.name of tables, sorted: made when first needed, for typing errors
	sorted      func() []*Table   // tables by name, made when first needed
}

type tableKey struct{ namespace, name string }

// entry is a document as it was last seen in the bucket.
type entry struct {
	doc  *document
	etag string
}

// A store keeps memory and bucket equal. Its rule: an entry is what the bucket
// answered, and the state follows from the entries. Whatever the bucket has not
// answered is in unsure, and is read again before anything else is changed.
type store struct {
	bucket storagelocations.Bucket

	// change is held from the first look of a change to its end, over its I/O, so
	// changes of this server come one after the other. It guards entries and unsure.
	// Readers do not take it.
	change  sync.Mutex
	entries map[string]entry
	unsure  map[string]struct{}

	// tolerant is of Inspect: documents that are corrupt go into damage.
	tolerant bool
	damage   []Damage
}

// load reads all documents.
func (c *Catalog) load(ctx context.Context) error {
	var names []string
	for info, err := range c.bucket.List(ctx, folder) {
		if err != nil {
			return err
		}
		if strings.HasSuffix(info.Name, suffix) {
			names = append(names, info.Name)
		}
	}
	loaded := make([]entry, len(names))
	corrupt := make([]error, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loadConcurrency)
	for i, name := range names {
		g.Go(func() (err error) {
			loaded[i], err = c.read(ctx, name)
			if c.tolerant && errors.Is(err, ErrCorrupt) {
				loaded[i], corrupt[i], err = entry{}, err, nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	s := &state{
		namespaces: map[string]*namespaceJSON{}, locations: map[string]*locationJSON{},
		tables: map[tableKey]*Table{}, byID: map[uint64]*Table{}, apiKeys: map[string]*APIKey{},
	}
	for i, name := range names {
		if corrupt[i] != nil {
			c.damage = append(c.damage, Damage{name, corrupt[i]})
		}
		if e := loaded[i]; e.doc != nil {
			c.entries[name] = e
		}
	}
	for name := range c.entries {
		c.derive(s, c.entries[name].doc)
	}
	c.publish(s)
	return nil
}

// publish makes s the truth for readers.
func (c *Catalog) publish(s *state) {
	s.names = sync.OnceValue(func() []string {
		names := make([]string, 0, len(s.tables))
		for key := range s.tables {
			names = append(names, key.namespace+"."+key.name)
		}
		slices.Sort(names)
		return names
	})
	s.sorted = sync.OnceValue(func() []*Table { return slices.SortedFunc(maps.Values(s.tables), compareTables) })
	s.version++
	if old := c.state.Load(); old != nil && old.users == s.users {
		s.sortedUsers = old.sortedUsers
	} else {
		s.sortedUsers = sync.OnceValue(s.sortUsers)
	}
	c.state.Store(s)
}

// read reads one document; the entry is empty if there is none.
func (c *Catalog) read(ctx context.Context, name string) (entry, error) {
	r, info, err := c.bucket.Get(ctx, name)
	if errors.Is(err, storagelocations.ErrNotExist) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	body, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return entry{}, fmt.Errorf("get %s: %w", name, err)
	}
	doc, err := decode(name, body)
	return entry{doc, info.ETag}, err
}

// derive brings s up to date for whatever doc is or was about.
func (c *Catalog) derive(s *state, doc *document) {
	switch {
	case doc.Namespace != nil:
		name := doc.Namespace.Name
		if e := c.entries[namespaceDoc(name)]; e.doc != nil && e.doc.Namespace != nil {
			s.namespaces[name] = e.doc.Namespace
		} else {
			delete(s.namespaces, name)
		}
	case doc.Location != nil:
		name := doc.Location.Name
		if e := c.entries[locationDoc(name)]; e.doc != nil && e.doc.Location != nil {
			s.locations[name] = e.doc.Location
		} else {
			delete(s.locations, name)
		}
	case doc.users != nil:
		s.users[doc.usersShard] = nil
		if e := c.entries[usersDoc(doc.usersShard)]; e.doc != nil {
			s.users[doc.usersShard] = e.doc.users
		}
	case doc.apiKey != nil:
		id := doc.apiKey.ID
		delete(s.apiKeys, id)
		if e := c.entries[keyDoc(id)]; e.doc != nil && e.doc.apiKey != nil {
			s.apiKeys[id] = e.doc.apiKey
		}
	case doc.table != nil:
		ref := doc.table.Ref
		key := tableKey{ref.Namespace, ref.Name}
		delete(s.byID, ref.ID)
		delete(s.tables, key)
		if e := c.entries[droppedDoc(ref.ID)]; e.doc != nil && e.doc.table != nil {
			s.byID[ref.ID] = e.doc.table
		}
		if e := c.entries[tableDoc(ref.Namespace, ref.Name)]; e.doc != nil && e.doc.table != nil {
			t := e.doc.table
			s.byID[t.Ref.ID] = t
			if !t.Dropped {
				s.tables[key] = t
			}
		}
	}
}

// saw records what the bucket holds under name and publishes what follows.
func (c *Catalog) saw(name string, e entry) {
	old := c.entries[name]
	delete(c.unsure, name)
	if e.doc == nil {
		delete(c.entries, name)
	} else {
		c.entries[name] = e
	}
	s := *c.state.Load()
	if strings.HasPrefix(name, namespacesFolder) {
		s.namespaces = maps.Clone(s.namespaces)
	} else if strings.HasPrefix(name, locationsFolder) {
		s.locations = maps.Clone(s.locations)
	} else if strings.HasPrefix(name, keysFolder) {
		s.apiKeys = maps.Clone(s.apiKeys)
	} else if !strings.HasPrefix(name, usersFolder) {
		s.tables, s.byID = maps.Clone(s.tables), maps.Clone(s.byID)
	}
	for _, doc := range []*document{old.doc, e.doc} {
		if doc != nil {
			c.derive(&s, doc)
		}
	}
	c.publish(&s)
	if c.onUsers != nil && (strings.HasPrefix(name, usersFolder) || strings.HasPrefix(name, keysFolder)) {
		c.onUsers()
	}
}

// begin starts a change: c.change is held until end is called.
func (c *Catalog) begin(ctx context.Context) (end func(), err error) {
	c.change.Lock()
	if err := c.settle(ctx); err != nil {
		c.change.Unlock()
		return nil, err
	}
	return c.change.Unlock, nil
}

func (c *Catalog) settle(ctx context.Context) error {
	for name := range c.unsure {
		e, err := c.read(ctx, name)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		c.saw(name, e)
	}
	return nil
}

// write puts doc under name if the bucket still holds there what c has seen last.
// ErrConflict if it does not; then memory has what it holds instead.
func (c *Catalog) write(ctx context.Context, name string, doc *document) error {
	if old := c.entries[name].doc; old != nil && old.Gone != nil && time.Since(*old.Gone) < goneGrace {
		return fmt.Errorf("%s is being removed, try again in %v: %w", name, goneGrace, ErrConflict)
	}
	return c.overwrite(ctx, name, doc)
}

// overwrite is write without regard to a remover who may still be at work.
func (c *Catalog) overwrite(ctx context.Context, name string, doc *document) error {
	old := c.entries[name]
	body, err := encode(doc)
	if err != nil {
		return err
	}
	if doc, err = decode(name, body); err != nil { // memory holds what a restart would read
		return err
	}
	cond := storagelocations.Cond{IfMatch: old.etag, IfNoneMatch: old.doc == nil}
	info, err := c.bucket.Put(ctx, name, body, cond) // the commit point of every change
	if err == nil {
		c.saw(name, entry{doc, info.ETag})
		return nil
	}
	// Either way the bucket knows better: refused by another's document, or by our own
	// whose reply was lost, or not answered at all.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBackTimeout)
	defer cancel()
	now, readErr := c.read(ctx, name)
	if readErr != nil {
		c.unsure[name] = struct{}{}
		return fmt.Errorf("%w: %w", ErrUnknown, errors.Join(err, readErr))
	}
	c.saw(name, now)
	switch {
	case now.doc != nil && now.doc.Revision == doc.Revision:
		return nil
	case errors.Is(err, storagelocations.ErrPrecondition):
		return fmt.Errorf("%s was %w", name, ErrConflict)
	}
	c.unsure[name] = struct{}{} // the put may still be on its way
	return err
}

// remove makes the document at name, which exists, go. What it described is gone as
// soon as the document says so: a delete alone would not notice another server's
// change. If the delete then fails, a few bytes are left and nothing else.
func (c *Catalog) remove(ctx context.Context, name string) error {
	now := time.Now().UTC()
	if err := c.write(ctx, name, &document{Gone: &now}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	if c.bucket.Delete(ctx, name) == nil {
		c.saw(name, entry{})
	}
	return nil
}
