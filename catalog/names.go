package catalog

import (
	"fmt"
	"slices"

	"kalamdb/row"
	"kalamdb/sql"
)

// DefaultName is the namespace and the storage location that always exist.
const DefaultName = "default"

const nameBytesMax = 63

// reserved are the namespaces that DuckDB and the system tables use.
var reserved = []string{"system", "information_schema", "pg_catalog", "main", "temp", "memory"}

// checkName says why name, of the given kind of thing, is no name of SQL, or nil.
func checkName(kind, name string) error {
	if len(name) == 0 || len(name) > nameBytesMax {
		return fmt.Errorf("%w: %s name of %d bytes, expected 1 to %d", ErrInvalid, kind, len(name), nameBytesMax)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return fmt.Errorf("%w: %s name %q, expected a letter or _, then letters, digits and _, all in lower case", ErrInvalid, kind, name)
		}
	}
	return nil
}

func checkNamespaceName(name string) error {
	if slices.Contains(reserved, name) {
		return fmt.Errorf("%w: namespace name %s is reserved", ErrInvalid, name)
	}
	return checkName("namespace", name)
}

// checkLocationName allows what people call buckets too: digits first, '-' and '.'.
func checkLocationName(name string) error {
	if len(name) == 0 || len(name) > nameBytesMax {
		return fmt.Errorf("%w: storage location name of %d bytes, expected 1 to %d", ErrInvalid, len(name), nameBytesMax)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c == '_' || c >= '0' && c <= '9' || i > 0 && (c == '-' || c == '.')) {
			return fmt.Errorf("%w: storage location name %q, expected lower-case letters and digits, also _ - . inside", ErrInvalid, name)
		}
	}
	return nil
}

func checkSchema(s *row.Schema) error {
	for _, c := range s.Columns {
		switch c.Name {
		case row.ColSeq, row.ColUpdated, row.ColDeleted:
			return fmt.Errorf("%w: column name %s is reserved", ErrInvalid, c.Name)
		}
		if err := checkName("column", c.Name); err != nil {
			return err
		}
	}
	if err := s.Valid(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func notFound(kind, name string, among []string) error {
	nearest, _ := sql.Nearest(name, among)
	return &NotFoundError{Kind: kind, Name: name, Nearest: nearest}
}
