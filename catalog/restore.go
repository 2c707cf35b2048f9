package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Restored tables come into being in three steps:
//
//  1. [Catalog.StageTables] writes the document of each under its id, as one that is
//     dropped: nobody sees it, and after a crash the next start removes what was copied.
//  2. their files and logs are written.
//  3. [Catalog.PublishTables] writes the namespace with the ids of its tables to come: from
//     here on they exist. Then each gets the document under its name. A start that finds
//     such a namespace goes on with it.

// MarshalTable is t as its document has it, for a backup.
func MarshalTable(t *Table) ([]byte, error) { return json.Marshal(newTableJSON(t)) }

// UnmarshalTable reads what MarshalTable wrote.
func UnmarshalTable(b []byte) (*Table, error) {
	j := &tableJSON{}
	if err := json.Unmarshal(b, j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return j.table()
}

// StageTables makes tables with new ids that nobody sees yet, in a namespace to come. They
// are what the given ones are, but in the location default. If it fails, those it has made go
// as dropped tables do.
func (c *Catalog) StageTables(ctx context.Context, namespace string, tables []*Table) ([]*Table, error) {
	if err := checkNamespaceName(namespace); err != nil {
		return nil, err
	}
	end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	var staged []*Table
	for _, from := range tables {
		t := &Table{
			Ref: from.Ref, Type: from.Type, Versions: from.Versions, Flush: from.Flush, DeletedRetention: from.DeletedRetention,
			Options: maps.Clone(from.Options), Rules: from.Rules, Created: from.Created, Updated: time.Now().UTC(), Dropped: true,
		}
		t.Ref.Namespace, t.Ref.ID = namespace, c.newID()
		t.setDefaults()
		if err := t.valid(); err != nil {
			return staged, err
		}
		name := droppedDoc(t.Ref.ID)
		if err := c.write(ctx, name, &document{Table: newTableJSON(t)}); err != nil {
			return staged, err
		}
		staged = append(staged, c.entries[name].doc.table)
	}
	return staged, nil
}

// PublishTables makes the namespace n with the staged tables. ErrExists if there is one of that
// name. With committed an error says only that the next start may have to
// finish it.
func (c *Catalog) PublishTables(ctx context.Context, n Namespace, staged []*Table) (committed bool, err error) {
	end, err := c.begin(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	exists := func() bool { _, ok := c.state.Load().namespaces[n.Name]; return ok }
	if exists() {
		return false, fmt.Errorf("namespace %s %w", n.Name, ErrExists)
	}
	now := time.Now().UTC()
	j := &namespaceJSON{Name: n.Name, Options: n.Options, Created: now, Updated: now}
	for _, t := range staged {
		j.Restoring = append(j.Restoring, formatID(t.Ref.ID))
	}
	err = c.write(ctx, namespaceDoc(n.Name), &document{Namespace: j}) // the commit point
	switch {
	case errors.Is(err, ErrConflict) && exists():
		return false, fmt.Errorf("namespace %s %w", n.Name, ErrExists)
	case errors.Is(err, ErrConflict):
		return false, err
	case err != nil:
		return true, err // nobody knows: what may be committed is not removed
	}
	return true, c.publishStaged(ctx, n.Name)
}

// finishRestores goes on with what a crash interrupted after the commit point.
func (c *Catalog) finishRestores(ctx context.Context) error {
	c.change.Lock()
	defer c.change.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.state.Load().namespaces)) {
		if len(c.state.Load().namespaces[name].Restoring) == 0 {
			continue
		}
		if err := c.publishStaged(ctx, name); err != nil {
			return fmt.Errorf("finish the restore of namespace %s: %w", name, err)
		}
	}
	return nil
}

// publishStaged gives the staged tables of a namespace their names. c.change is held.
func (c *Catalog) publishStaged(ctx context.Context, namespace string) error {
	n := c.state.Load().namespaces[namespace]
	for _, id := range n.Restoring {
		staged := droppedFolder + id + suffix
		e := c.entries[staged]
		if e.doc == nil || e.doc.table == nil {
			continue // done before
		}
		live := *e.doc.table
		live.Dropped = false
		name := tableDoc(live.Ref.Namespace, live.Ref.Name)
		last := c.entries[name]
		if last.doc == nil || last.doc.table == nil || last.doc.table.Ref.ID != live.Ref.ID {
			if last.doc != nil && last.doc.table != nil {
				if err := c.setAside(ctx, last.doc.table); err != nil {
					return err
				}
			}
			if err := c.overwrite(ctx, name, &document{Table: newTableJSON(&live)}); err != nil {
				return err
			}
		}
		if err := c.remove(ctx, staged); err != nil {
			return err
		}
	}
	done := *n
	done.Restoring = nil
	return c.overwrite(ctx, namespaceDoc(namespace), &document{Namespace: &done})
}
