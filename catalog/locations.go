package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kalamdb/storagelocations"
)

// A Location is a storage location that tables refer to by name. The location
// default has no document: it is the bucket the catalog itself is in, wherever
// that is now.
type Location struct {
	Name             string
	Type             string // filesystem or s3
	Path             string // as the LOCATION of a table: a url with variables
	CredentialsRef   string
	Created, Updated time.Time
}

const (
	typeFilesystem = "filesystem"
	typeS3         = "s3"
)

func (j *locationJSON) location() Location {
	return Location{j.Name, j.Type, j.Path, j.CredentialsRef, j.Created, j.Updated}
}

func locationType(url string) string {
	if strings.HasPrefix(url, "s3://") {
		return typeS3
	}
	return typeFilesystem
}

func (c *Catalog) defaultLocation() Location {
	url := c.bucket.URL()
	l := Location{Name: DefaultName, Type: locationType(url), Path: url}
	if n, ok := c.state.Load().namespaces[DefaultName]; ok { // as old as the catalog
		l.Created, l.Updated = n.Created, n.Created
	}
	return l
}

// CreateLocation makes a storage location. An empty Type is taken from the Path.
// ErrExists if there is one of that name.
func (c *Catalog) CreateLocation(ctx context.Context, l Location) error {
	if err := checkLocationName(l.Name); err != nil {
		return err
	}
	_, _, err := storagelocations.ParseTemplate(l.Path, strings.Contains(l.Path, "${user_id}"))
	if err != nil {
		return fmt.Errorf("%w: storage location %s: %w", ErrInvalid, l.Name, err)
	}
	if l.Type == "" {
		l.Type = locationType(l.Path)
	}
	if l.Type != locationType(l.Path) {
		return fmt.Errorf("%w: storage location %s has the type %q, expected %s for %s", ErrInvalid, l.Name, l.Type, locationType(l.Path), l.Path)
	}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	exists := func() bool { _, err := c.Location(l.Name); return err == nil }
	if !exists() {
		now := time.Now().UTC()
		err = c.write(ctx, locationDoc(l.Name), &document{Location: &locationJSON{l.Name, l.Type, l.Path, l.CredentialsRef, now, now}})
		if !errors.Is(err, ErrConflict) || !exists() {
			return err
		}
	}
	return fmt.Errorf("storage location %s %w", l.Name, ErrExists)
}

// DropLocation removes a storage location. ErrInUse if tables use it.
func (c *Catalog) DropLocation(ctx context.Context, name string) error {
	if name == DefaultName {
		return fmt.Errorf("%w: storage location %s cannot be dropped", ErrInvalid, name)
	}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err := c.Location(name); err != nil {
		return err
	}
	if n := c.Usage(name); n > 0 {
		return fmt.Errorf("storage location %s %w by %d tables", name, ErrInUse, n)
	}
	return c.remove(ctx, locationDoc(name))
}
