package kalamdb

import (
	"maps"
	"slices"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/row"
)

// catalogName is the one catalog that information_schema knows.
const catalogName = "kalamdb"

// shownColumns are the columns of SELECT *.
func shownColumns(t *catalog.Table) []row.Column {
	cols := slices.Clone(t.Schema().Columns)
	if t.Type == catalog.Stream {
		return cols
	}
	return append(cols,
		row.Column{ID: row.IDUpdated, Name: row.ColUpdated, Type: row.Type{Kind: row.Timestamp}, NotNull: true},
		row.Column{ID: row.IDDeleted, Name: row.ColDeleted, Type: row.Type{Kind: row.Boolean}, NotNull: true})
}

func columnRows(_ *DB, t *catalog.Table, add func(...row.Value)) {
	s := t.Schema()
	for i, c := range shownColumns(t) {
		key := row.NullValue
		if k := slices.Index(s.Key, c.ID); k >= 0 {
			key = integer(int64(k + 1))
		}
		add(text(t.Ref.Colon()), text(t.Ref.Namespace), text(t.Ref.Name), text(c.Name), integer(int64(i+1)), text(c.Type.String()), row.BoolValue(!c.NotNull),
			key, row.BoolValue(c.AutoIncrement), textOrNull(c.Default), row.BoolValue(c.ID >= row.IDSeq))
	}
}

func infoTableRows(_ *DB, t *catalog.Table, add func(...row.Value)) {
	add(text(catalogName), text(t.Ref.Namespace), text(t.Ref.Name), text("BASE TABLE"))
}

func infoColumnRows(_ *DB, t *catalog.Table, add func(...row.Value)) {
	addInfoColumns(t.Ref.Namespace, t.Ref.Name, shownColumns(t), add)
}

func addInfoColumns(namespace, name string, cols []row.Column, add func(...row.Value)) {
	for i, c := range cols {
		nullable := "YES"
		if c.NotNull {
			nullable = "NO"
		}
		add(text(catalogName), text(namespace), text(name), text(c.Name), integer(int64(i+1)), textOrNull(c.Default), text(nullable), text(c.Type.String()))
	}
}

// systemViews calls f for each system table that the principal may see.
func systemViews(as auth.Principal, f func(namespace, name string, st systemTable)) {
	for _, full := range slices.Sorted(maps.Keys(systemTables)) {
		if st := systemTables[full]; as.Role >= st.role {
			namespace, name := splitName(full)
			f(namespace, name, st)
		}
	}
}

func infoViewRows(_ *DB, as auth.Principal, add func(...row.Value)) {
	systemViews(as, func(namespace, name string, _ systemTable) {
		add(text(catalogName), text(namespace), text(name), text("SYSTEM VIEW"))
	})
}

func infoViewColumnRows(_ *DB, as auth.Principal, add func(...row.Value)) {
	systemViews(as, func(namespace, name string, st systemTable) {
		addInfoColumns(namespace, name, st.columns, add)
	})
}
