package row

import "fmt"

// A PartitionError is wrong with the rows of one partition, so that trying again does not
// help, and other partitions need not wait for it.
type PartitionError struct {
	Partition Partition
	Err       error
}

func (e *PartitionError) Error() string { return fmt.Sprintf("%s: %v", e.Partition, e.Err) }
func (e *PartitionError) Unwrap() error { return e.Err }
