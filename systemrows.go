package kalamdb

import (
	"fmt"
	"strconv"
	"time"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/row"
)

func namespaceRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	for _, n := range db.catalog.Namespaces() {
		add(text(n.Name), jsonText(n.Options), number(int64(len(db.catalog.TablesIn(n.Name)))), moment(n.Created), moment(n.Updated))
	}
}

// tableRows is the row of a table; a STREAM table has neither files nor what is about them.
func tableRows(_ *DB, t *catalog.Table, add func(...row.Value)) {
	place, policy, retention := row.NullValue, row.NullValue, row.NullValue
	if t.Type != catalog.Stream {
		place = text(tablePlaceText(t))
		policy = text(fmt.Sprintf("rows:%d,interval:%d", t.Flush.Rows, int64(t.Flush.Interval/time.Second)))
		retention = text(retentionText(t.DeletedRetention))
	}
	add(text(t.Ref.Colon()), text(t.Ref.Namespace), text(t.Ref.Name), text(string(t.Type)), place, policy, retention,
		jsonText(t.Options), integer(int64(t.Schema().Version)), moment(t.Created), moment(t.Updated))
}

// retentionText is d as WITH (deleted_retention = …) takes it.
func retentionText(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "off"
	case d > 0 && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}

// tablePlaceText is the name of the table's location, or the LOCATION it was given.
func tablePlaceText(t *catalog.Table) string {
	if t.Location != "" {
		return t.Location
	}
	return t.Root + "/" + string(t.Path)
}

func schemaRows(_ *DB, t *catalog.Table, add func(...row.Value)) {
	for _, v := range t.Versions {
		add(text(t.Ref.Colon()), text(t.Ref.Namespace), text(t.Ref.Name), integer(int64(v.Version)), text(arrowSchemaJSON(v.Schema)), text(v.Changes), moment(v.Created))
	}
}

func locationRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	usage := db.catalog.Usage()
	for _, l := range db.catalog.Locations() {
		path := l.Path
		if l.Name == catalog.DefaultName {
			path = db.bucket.URL()
		}
		add(text(l.Name), text(l.Type), text(path), textOrNull(l.CredentialsRef), number(int64(usage[l.Name])), moment(l.Created), moment(l.Updated), jsonText(l.Options))
	}
}

func jobRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	for _, j := range db.jobs.List() {
		params := make([]row.Value, len(j.Parameters))
		for i, p := range j.Parameters {
			params[i] = text(p)
		}
		add(text(j.ID), text(j.Type), textOrNull(j.Namespace), textOrNull(j.Table), textOrNull(j.User), text(string(j.Status)), moment(j.Started), moment(j.Ended),
			row.ListValue(params), textOrNull(j.Result), textOrNull(j.Trace), textOrNull(j.Error), row.DoubleValue(j.MemoryUsedMB), row.DoubleValue(j.CPUUsedPercent), text(j.Node))
	}
}
