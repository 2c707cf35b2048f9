// Package query answers SELECT statements with DuckDB: one caller's rows, part of them
// in Parquet files and part in the write buffer, under SQL that nobody has to trust.
//
// A statement takes two steps. [Engine.Plan] has DuckDB parse the text, walks the tree
// with allow-lists (gate.go, calls.go, functions.go, like.go, jsonpath.go; shape.go
// counts its parts before) and finds the base tables (tables.go); the
// [Plan] is cached by text (plan.go). [Engine.Query] puts a subquery in the place of
// each base table (run.go), the cheapest one that gives its current rows (merge.go),
// without the files that cannot matter (predicate.go), runs the result (instance.go)
// and hands out [Rows] (rows.go, decode.go).
//
// Buffered rows enter DuckDB through a table function written in Go (scan.go,
// source.go, vector.go). It finds its rows by the connection that calls it, so no SQL
// text can reach another statement's rows. CURRENT_USER(), NOW() and their like find
// the [Session] the same way (session.go); parameters are bound as typed values
// (params.go).
//
// Live queries (live.go) use the same gate. DuckDB binds their conditions (bound.go), and
// what they are made of becomes Go closures (condition.go, conditioncompare.go,
// conditioncast.go, conditionfunc.go, conditiontext.go) that give DuckDB's answer or ask it.
//
// Defence is in two lines: the gate refuses what it does not know, and DuckDB runs
// with external access off but for the cache folder and its settings locked. Memory,
// time, rows, bytes and the number of statements at once are limited (engine.go), and a
// statement that does not stop is left behind (turns.go).
// What went wrong is told in the client's words and offsets (errors.go).
package query
