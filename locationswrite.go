package kalamdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/sql"
)

const (
	locationsTable   = "storage_locations" // of the namespace system
	locationsRowsMax = 100                 // that one statement changes, each of which is tried out
)

// locationColumns are the columns of system.storage_locations that a statement may write.
var locationColumns = []string{"location_name", "location_type", "path", "credentials_ref", "options"}

func writableLocations() *writableTable {
	return &writableTable{
		name: locationsTable, columns: locationColumns, kept: []string{"usage_count", "created_at", "updated_at"}, json: "options", rowsMax: locationsRowsMax,
		insert: insertLocations, update: updateLocations, delete: deleteLocations,
	}
}

// setLocationCell gives l a value of a statement; NULL is the default.
func setLocationCell(l *catalog.Location, column int, v row.Value) error {
	value := ""
	if !v.IsNull() {
		value = string(v.AppendText(nil))
	}
	switch name := locationColumns[column]; name {
	case "location_name":
		if v.IsNull() {
			return fail(CodeNotNull, "column location_name must not be NULL")
		}
		l.Name = value
		return nil
	case "location_type":
		return setLocationOption(&l.LocationVersion, "type", value)
	case "options":
		return setLocationJSON(&l.LocationVersion, value)
	default:
		return setLocationOption(&l.LocationVersion, name, value)
	}
}

// setLocationJSON replaces the options of s3 by those of a JSON object of texts.
func setLocationJSON(v *catalog.LocationVersion, text string) error {
	v.Options = nil
	if text == "" {
		return nil
	}
	var options map[string]any
	if err := json.Unmarshal([]byte(text), &options); err != nil {
		return fail(CodeInvalidValue, "column options is no JSON object: expected names and texts")
	}
	for name, value := range options {
		switch value.(type) {
		case string, bool:
		default:
			return fail(CodeInvalidValue, "column options: the value of %s is neither a text nor true or false", name)
		}
		if !slices.Contains(locationOptions[locationOptionsOwn:], name) && !isSecretName(name) {
			nearest, _ := sql.Nearest(name, locationOptions[locationOptionsOwn:])
			return fail(CodeInvalidLocation, "a storage location has no option %s", name).details(didYouMean(nearest))
		}
		if err := setLocationOption(v, name, fmt.Sprint(value)); err != nil {
			return err
		}
	}
	return nil
}

// insertLocations runs INSERT INTO system.storage_locations. All are tried out before the
// first is made; an error of the storage in between may leave some made.
func insertLocations(ctx context.Context, db *DB, s *statement, st *sql.Insert) (int, error) {
	var list []catalog.Location
	err := writableTables[locationsTable].insertedRows(ctx, db, s, st, func(columns []int, values []row.Value) error {
		l := catalog.Location{}
		for i, column := range columns {
			if err := setLocationCell(&l, column, values[i]); err != nil {
				return err
			}
		}
		_, err := db.catalog.Location(l.Name)
		if err == nil || slices.ContainsFunc(list, func(other catalog.Location) bool { return other.Name == l.Name }) {
			return fail(CodeDuplicateKey, "storage location %s already exists", l.Name)
		}
		list = append(list, l)
		return nil
	})
	if err != nil {
		return 0, err
	}
	for i := range list {
		if err := db.checkLocation(ctx, &list[i]); err != nil {
			return 0, err
		}
	}
	for i, l := range list {
		err := db.catalog.CreateLocation(ctx, l)
		if errors.Is(err, catalog.ErrExists) {
			return i, fail(CodeDuplicateKey, "%s", err)
		}
		if err != nil {
			return i, err
		}
	}
	return len(list), nil
}

// updateLocations runs UPDATE system.storage_locations.
func updateLocations(ctx context.Context, db *DB, s *statement, st *sql.Update) (int, error) {
	var from, to []catalog.Location
	err := writableTables[locationsTable].updatedRows(ctx, db, s, st, func(columns []int, picked, values []row.Value) error {
		l, err := db.pickedLocation(picked)
		if err != nil {
			return err
		}
		changed := l
		changed.LocationVersion = editable(&l)
		for i, column := range columns {
			if err := setLocationCell(&changed, column, values[i]); err != nil {
				return err
			}
		}
		from, to = append(from, l), append(to, changed)
		return nil
	})
	if err != nil {
		return 0, err
	}
	for i := range to {
		if err := db.changeLocation(ctx, from[i], &to[i]); err != nil {
			return i, err
		}
	}
	return len(to), nil
}

// deleteLocations runs DELETE FROM system.storage_locations: of all rows or none.
func deleteLocations(ctx context.Context, db *DB, s *statement, st *sql.Delete) (int, error) {
	var names []string
	err := writableTables[locationsTable].deletedRows(ctx, db, s, st, func(picked []row.Value) error {
		names = append(names, picked[0].Str())
		return db.mayRemoveLocation(picked[0].Str())
	})
	if err != nil {
		return 0, err
	}
	for i, name := range names {
		if err := db.removeLocation(ctx, name); err != nil {
			return i, err
		}
	}
	return len(names), nil
}

// pickedLocation is the location of a picked row; it is catalog.ErrConflict if it has
// changed since.
func (db *DB) pickedLocation(picked []row.Value) (catalog.Location, error) {
	l, err := db.catalog.Location(picked[0].Str())
	if err == nil && l.Name != catalog.DefaultName && !l.Updated.Equal(time.UnixMicro(picked[1].Int())) {
		err = catalog.ErrConflict
	}
	return l, err
}
