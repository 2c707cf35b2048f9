package row

// A Segment is what one partition hands to the lake at once: the newest version of
// every key that changed between two Seqs, tombstones included.
//
// Invariants: Rows ≥ 1; every row that Scan yields has First ≤ Seq ≤ Last, and the
// row with Last is among them; two segments of one partition never share a Seq.
// A segment stays as it is until the call it was given to returns, so Scan may run
// several times and yields the same rows each time.
type Segment struct {
	Partition   Partition
	First, Last Seq
	Rows        int   // the number of rows Scan yields
	Bytes       int64 // their size as the buffer keeps them, for planning

	// Scan yields the rows ascending by key, one per key. key and r are reused: what
	// outlives a yield needs a copy. An error of yield stops the scan and is returned.
	Scan func(yield func(key []byte, r *Row) error) error
}
