// Package row is the one floor of nouns: what a value, a row, a table, a
// partition and a change are, and how each is written as bytes.
//
// A [Value] is one typed SQL value. Values make a [Row], rows are described by a
// [Schema], and a [Schema] belongs to a table named by a [TableRef]. One user's
// slice of a table is a [Partition]: the unit of isolation, order and flushing.
// Every committed row version has a [Seq]; what one commit did to one partition
// is a [Batch] of [Change]s.
//
// Files in reading order: ids.go (Seq, UserID, TableRef, Partition), types.go
// (Kind, Type), value.go (Value), schema.go (Column, Schema), row.go (Row,
// Change, Batch), key.go (primary keys as bytes that sort), codec.go (rows as
// bytes that last), json.go (values as the JSON of the HTTP and WebSocket answers).
//
// The package imports nothing of the project and does no I/O.
package row
