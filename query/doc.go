// Package query answers SELECT statements with DuckDB.
package query
