package kalamdb

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kalamdb/catalog"
	"kalamdb/sql"
	"kalamdb/storagelocations"
)

const (
	optionDeletedRetention = "deleted_retention"
	deletedRetentionOff    = -1
)

// optionNames are the options that each type of table has in WITH and in SET, without
// type and flush_policy, which the parser takes out.
var optionNames = map[catalog.TableType][]string{
	catalog.User:   {optionDeletedRetention, catalog.OptionPack},
	catalog.Shared: {optionDeletedRetention, catalog.OptionAccess},
	catalog.Stream: {catalog.OptionRetention, catalog.OptionMaxBuffer, catalog.OptionEphemeral},
}

// setOption gives t one option, checked and as the catalog writes it. t may be a copy of
// a table that others use: its map of options is not changed.
func setOption(t *catalog.Table, name, value string) error {
	if !slices.Contains(optionNames[t.Type], name) {
		nearest, _ := sql.Nearest(name, append([]string{"type", "flush_policy"}, optionNames[t.Type]...))
		return fail(CodeInvalidDefinition, "a %s table has no option %s", strings.ToUpper(string(t.Type)), name).details(didYouMean(nearest))
	}
	given := value
	value = strings.ToLower(strings.TrimSpace(value))
	switch name {
	case optionDeletedRetention:
		if value == "off" {
			t.DeletedRetention = deletedRetentionOff
			return nil
		}
		d, err := sql.Duration(value)
		if err != nil {
			return fail(CodeInvalidDefinition, "%s: %s", name, err)
		}
		t.DeletedRetention = d
		return nil
	case catalog.OptionRetention:
		d, err := sql.Duration(value)
		if err != nil {
			return fail(CodeInvalidDefinition, "%s: %s", name, err)
		}
		value = d.String()
	case catalog.OptionEphemeral:
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fail(CodeInvalidDefinition, "%s is %q, expected true or false", name, given)
		}
		value = strconv.FormatBool(on)
	}
	options := maps.Clone(t.Options)
	if options == nil {
		options = map[string]string{}
	}
	options[name] = value
	t.Options = options
	return nil
}

// setTableOptions reads the flush policy and the WITH options of CREATE TABLE. What the
// type of the table does not have is refused, so that nothing is silently ignored.
func setTableOptions(t *catalog.Table, st *sql.CreateTable) error {
	if t.Type == catalog.Stream {
		switch {
		case st.HasFlush:
			return fail(CodeInvalidDefinition, "a STREAM table has no flush policy: its events are never written to files").
				details("WITH (retention = '10s', max_buffer = 10000) says how long they are kept").at(st.Start())
		case st.Location != "" || st.LocationRef != "":
			return fail(CodeInvalidDefinition, "a STREAM table has no LOCATION: its events are never written to files").at(st.Start())
		}
	}
	if st.HasFlush {
		t.Flush = catalog.FlushPolicy{Rows: st.FlushRows, Interval: st.FlushInterval}
	}
	for _, name := range slices.Sorted(maps.Keys(st.Options)) {
		if err := setOption(t, name, st.Options[name]); err != nil {
			return asError(err).at(st.Start())
		}
	}
	return nil
}

// tablePlace decides where the table's files are, and makes sure that they can be
// written there before the table exists.
func (db *DB) tablePlace(ctx context.Context, t *catalog.Table, st *sql.CreateTable) error {
	if t.Type == catalog.Stream {
		return nil
	}
	t.Path = storagelocations.DefaultShared
	if t.Type == catalog.User {
		t.Path = storagelocations.DefaultUser
	}
	place, at := st.Location, storagelocations.Place{}
	if st.LocationRef != "" {
		loc, err := db.catalog.Location(st.LocationRef)
		if err != nil {
			return asError(err).at(st.LocationPos)
		}
		t.Location, t.LocationVersion = loc.Name, loc.Version
		if place = loc.Path; t.Location != catalog.DefaultName {
			if at.S3, err = loc.S3(); err != nil {
				return err
			}
		}
	} else if place == "" {
		t.Location = catalog.DefaultName
		return nil
	}
	if t.Location == catalog.DefaultName {
		return nil
	}
	if t.Location != "" && !strings.Contains(place, "${") {
		place = strings.TrimRight(place, "/") + "/" + string(t.Path)
	}
	var err error
	if t.Root, t.Path, err = storagelocations.ParseTemplate(place, t.Type == catalog.User); err != nil {
		return fail(CodeInvalidLocation, "%s", err).at(st.LocationPos)
	}
	if err := db.refuseOwnFolder(t.Root); err != nil {
		return asError(err).at(st.LocationPos)
	}
	at.URL = t.Root
	if err := db.probe(ctx, "location "+t.Root, at); err != nil {
		return asError(err).at(st.LocationPos)
	}
	return nil
}
