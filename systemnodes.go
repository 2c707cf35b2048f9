package kalamdb

import (
	"time"

	"kalamdb/auth"
	"kalamdb/jobs"
	"kalamdb/row"
)

// A Setting is a line of system.settings. Whoever opens the database knows its settings
// and masks those that are secret.
type Setting struct{ Name, Value, Default string }

func settingRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	for _, s := range db.settings {
		add(text(s.Name), text(s.Value), text(s.Default))
	}
}

// nodeRows is this server, the only one.
func nodeRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	s := db.Stats()
	status := "running"
	switch {
	case db.failure.Load() != nil:
		status = "failed"
	case s.Buffer.DiskLow:
		status = "disk low"
	}
	add(text(db.node), text(db.nodeID), text(status), moment(db.started), number(time.Since(db.started).Milliseconds()), number(int64(s.Buffer.Durable)),
		number(int64(s.Buffer.Rows)), number(s.Buffer.Bytes), number(int64(s.Buffer.Partitions)), number(s.Buffer.ChangeLogBytes),
		number(int64(s.LiveQueries)), row.DoubleValue(jobs.ProcessMemoryMB()))
}
