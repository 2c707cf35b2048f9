package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// A Namespace is a named group of tables.
type Namespace struct {
	Name             string
	Options          map[string]string
	Created, Updated time.Time
}

func (j *namespaceJSON) namespace() Namespace {
	return Namespace{j.Name, maps.Clone(j.Options), j.Created, j.Updated}
}

// CreateNamespace makes a namespace with the name and options of n. ErrExists if there is one.
func (c *Catalog) CreateNamespace(ctx context.Context, n Namespace) error {
	if err := checkNamespaceName(n.Name); err != nil {
		return err
	}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	exists := func() bool { _, ok := c.state.Load().namespaces[n.Name]; return ok }
	if !exists() {
		now := time.Now().UTC()
		err = c.write(ctx, namespaceDoc(n.Name), &document{Namespace: &namespaceJSON{Name: n.Name, Options: n.Options, Created: now, Updated: now}})
		if !errors.Is(err, ErrConflict) || !exists() {
			return err
		}
	}
	return fmt.Errorf("namespace %s %w", n.Name, ErrExists)
}

// AlterNamespace sets the given options and leaves the others as they are.
func (c *Catalog) AlterNamespace(ctx context.Context, name string, options map[string]string) error {
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	n, err := c.Namespace(name)
	if err != nil {
		return err
	}
	merged := map[string]string{}
	maps.Copy(merged, n.Options)
	maps.Copy(merged, options)
	return c.write(ctx, namespaceDoc(name), &document{Namespace: &namespaceJSON{Name: name, Options: merged, Created: n.Created, Updated: time.Now().UTC()}})
}

// DropNamespace removes a namespace without tables. ErrNotEmpty if it has some.
func (c *Catalog) DropNamespace(ctx context.Context, name string) error {
	if name == DefaultName {
		return fmt.Errorf("%w: namespace %s cannot be dropped", ErrInvalid, name)
	}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err := c.Namespace(name); err != nil {
		return err
	}
	tables := 0
	for key := range c.state.Load().tables {
		if key.namespace == name {
			tables++
		}
	}
	if tables > 0 {
		return fmt.Errorf("namespace %s %w: it has %d tables", name, ErrNotEmpty, tables)
	}
	return c.remove(ctx, namespaceDoc(name))
}
