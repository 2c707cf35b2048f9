// Package sql turns the text of a request into typed statements.
//
// [Parse] cuts the text into statements with a lexer (lex.go) that sees tokens
// exactly where DuckDB sees them: quotes of every kind, dollar quotes, nested
// comments. The first word decides (verb.go): what reaches files, settings or the
// network is refused here already, what arrives later is [Unsupported]. Statements
// of our own (namespaces, tables, users, transactions, flush, kill …: namespace.go,
// table.go, alter.go, types.go, user.go, transaction.go, command.go) are parsed whole. INSERT, UPDATE and DELETE (dml.go) are taken apart at their clauses; what stands between the clauses, and
// every SELECT, stays text: a [Fragment] (fragment.go), which DuckDB's own parser
// reads later. So there is no second grammar of expressions to be wrong.
//
// One rule makes fragments safe to compose: a Fragment begins and ends at a token,
// is balanced in (), [] and {}, and holds no semicolon outside quotes. "(" + f + ")"
// is one parenthesised group whatever the request said, and a comment cannot
// swallow what follows.
//
// Literals of INSERT … VALUES become values at once (literal.go), so that the
// common insert never meets DuckDB. Every mistake is an [*Error] with its place, what
// was found and what was expected, and the nearest right word (names.go).
package sql
