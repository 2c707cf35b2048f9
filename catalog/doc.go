// Package catalog knows what exists: namespaces, tables with their schema
// versions, and storage locations.
//
// Each of them is one JSON document in the bucket under _kalamdb/catalog/, written
// to be read and compared by people (document.go). [Open] loads them all; after
// that every question is answered from memory without a lock, and every change is
// one conditional put of one document (store.go). Nothing is kept outside the
// bucket, so a server that has lost everything else finds its tables again.
//
// One rule ties the package to its callers: memory changes after the bucket has
// taken the document, never before. A [Table] handed out never changes; who wants
// to see a change asks again.
//
// Files in reading order: catalog.go (Catalog, Open and the questions), tables.go,
// alter.go, namespaces.go and locations.go (one kind of thing each: what it is and how it
// changes), document.go (the bytes), store.go (memory and bucket kept equal),
// names.go, errors.go.
package catalog
