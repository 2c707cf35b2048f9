package catalog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kalamdb/row"
)

// schemaVersionsMax is how many schema versions one table can have: all of them are in
// its document, for rows and files that were written with them.
const schemaVersionsMax = 1_000

// An Alteration is the new definition of a table: a schema or none, the flush policy,
// the retention of deleted rows and the options. Zero values of the flush policy mean
// the defaults.
type Alteration struct {
	Schema           *row.Schema // without its version; nil: the columns stay as they are
	Changes          string      // what makes the schema, for people
	Flush            FlushPolicy
	DeletedRetention time.Duration
	Options          map[string]string
}

// AlterTable gives t, as the caller saw it, a new definition, all of it at once.
// ErrConflict if t is not the newest any more.
func (c *Catalog) AlterTable(ctx context.Context, t *Table, a Alteration) (*Table, error) {
	end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	now, err := c.Table(t.Ref.Namespace, t.Ref.Name)
	if err != nil {
		return nil, err
	}
	if now != t {
		return nil, fmt.Errorf("table %s was %w", t.Ref, ErrConflict)
	}
	altered := *t
	altered.Updated = time.Now().UTC()
	altered.Flush, altered.DeletedRetention, altered.Options = a.Flush, a.DeletedRetention, a.Options
	if a.Schema != nil {
		if len(t.Versions) == schemaVersionsMax {
			return nil, fmt.Errorf("%w: table %s has had %d schemas, which is the limit", ErrInvalid, t.Ref, schemaVersionsMax)
		}
		schema := *a.Schema
		schema.Version = t.Schema().Version + 1
		altered.Versions = append(slices.Clone(t.Versions), SchemaVersion{&schema, a.Changes, altered.Updated})
	}
	altered.setDefaults()
	if err := altered.valid(); err != nil {
		return nil, err
	}
	object := tableDoc(t.Ref.Namespace, t.Ref.Name)
	if err := c.write(ctx, object, &document{Table: newTableJSON(&altered)}); err != nil {
		return nil, err
	}
	return c.entries[object].doc.table, nil
}

// NextColumnID is an id that no column of t ever had.
func (t *Table) NextColumnID() row.ColumnID {
	next := row.ColumnID(1)
	for _, v := range t.Versions {
		for _, c := range v.Columns {
			next = max(next, c.ID+1)
		}
	}
	return next
}

// checkEvolution makes sure that rows written with the schemas before can be read with
// the last of them: an id is one column for ever, with a type that only widens, and the
// primary key stays.
func checkEvolution(versions []SchemaVersion) error {
	if len(versions) == 1 {
		return nil
	}
	last := map[row.ColumnID]row.Column{} // every column there ever was
	gone := map[row.ColumnID]bool{}
	for i, v := range versions {
		if i > 0 && !slices.Equal(v.Key, versions[0].Key) {
			return fmt.Errorf("%w: schema version %d has another primary key", ErrInvalid, v.Version)
		}
		here := map[row.ColumnID]bool{}
		for _, c := range v.Columns {
			here[c.ID] = true
			old, known := last[c.ID]
			switch {
			case !known:
			case gone[c.ID]:
				return fmt.Errorf("%w: schema version %d uses the id %d of a dropped column again", ErrInvalid, v.Version, c.ID)
			case slices.Contains(v.Key, c.ID) && c.Type != old.Type:
				return fmt.Errorf("%w: schema version %d changes the type of primary key column %s", ErrInvalid, v.Version, c.Name)
			default:
				if err := old.Type.WidensTo(c.Type); err != nil {
					return fmt.Errorf("%w: schema version %d, column %s: %w", ErrInvalid, v.Version, c.Name, err)
				}
			}
			last[c.ID] = c
		}
		for id := range last {
			gone[id] = !here[id]
		}
	}
	return nil
}
