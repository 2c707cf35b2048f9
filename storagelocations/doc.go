// Package storagelocations knows the places where KalamDB keeps objects: folders
// of a file system and buckets that speak S3.
//
// A [Bucket] holds objects by name (bucket.go). Three implementations are here,
// each in its file: [NewDir] (dir.go), [NewS3] (s3.go) and [NewMemory] (memory.go)
// for tests. The conformance suite in the subpackage buckettest runs on all of
// them: what the interface says is what all of them do. [Places] opens buckets by
// url and keeps them (places.go), with credentials that a text refers to and never
// contains (credentials.go); a [Relay] opens one when it is needed, so that a place out of
// reach stops nothing else (relay.go). [Probe] finds out whether a bucket can be
// trusted with conditional writes before anything depends on it (probe.go).
//
// A [Template] says where in a bucket the files of one user's slice of a table are
// (template.go). It is the one place where a user id becomes part of a path.
//
// One rule ties the package to its callers: whoever must win alone writes with a
// [Cond]. Everything above (the commit log of a table, the documents of the
// catalog) gets its atomicity from that one put.
package storagelocations
