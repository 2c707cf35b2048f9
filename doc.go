// Package kalamdb is the embeddable database: open it on a folder, send it SQL as
// somebody, subscribe to changes, close it.
//
//	db, err := kalamdb.Open(ctx, kalamdb.Options{DataDir: "./data"})
//	results, err := db.Exec(ctx, kalamdb.Request{SQL: "SELECT 1", As: who})
//
// The package owns no data. It takes a request apart (exec.go) and sends each
// statement to the room that owns it: definitions to catalog (ddl.go), changes to
// ingest (insert.go, update.go), questions to query over a snapshot of buffer and
// lake (relation.go), live queries to live (subscribe.go). system.go shows the
// rooms' own state as tables. db.go opens the rooms in the order in which they
// need each other and closes them in reverse.
package kalamdb
