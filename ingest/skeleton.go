// Package ingest accepts rows, makes them durable in commit order, and hands them to the lake.
package ingest

import (
	"context"
	"time"

	"kalamdb/row"
)

type Buffer struct{}

func Open(Options) (*Buffer, error)         { panic("skeleton") }
func (b *Buffer) Run(context.Context) error { panic("skeleton") }
func (b *Buffer) Close() error              { panic("skeleton") }

// A Write is what one commit does to one partition.
type Write struct {
	Partition row.Partition
	Schema    *row.Schema
	Epoch     uint64 // of the snapshot the caller looked at, or Buffer.Epoch before looking at files
	Fresh     bool   // every Insert has a key never used before (NextID): Epoch is not checked
	Mutations []Mutation
}

type Mutation struct {
	Op     row.Op
	Key    []byte
	Values []row.Value
	OldSeq row.Seq
	Old    *row.Row
}

type Commit struct {
	First, Last row.Seq
	Time        time.Time
}

func (b *Buffer) Commit(ctx context.Context, writes ...Write) (Commit, error) { panic("skeleton") }
func (b *Buffer) Epoch(p row.Partition) uint64                                { panic("skeleton") }

type View struct{}

func (b *Buffer) View() *View { panic("skeleton") }
func (v *View) Partition(ctx context.Context, p row.Partition) (*Snapshot, error) {
	panic("skeleton")
}
func (v *View) Close() { panic("skeleton") }

type Snapshot struct{}

func (s *Snapshot) Seq() row.Seq                          { panic("skeleton") }
func (s *Snapshot) Epoch() uint64                         { panic("skeleton") }
func (s *Snapshot) Len() int                              { panic("skeleton") }
func (s *Snapshot) Bytes() int64                          { panic("skeleton") }
func (s *Snapshot) Get(key []byte) (row.Row, bool, error) { panic("skeleton") }
func (s *Snapshot) Scan(from, to []byte, yield func(key []byte, r *row.Row) bool) error {
	panic("skeleton")
}

func (b *Buffer) NextID() int64 { panic("skeleton") }
func (b *Buffer) Changes(ctx context.Context, p row.Partition, after, through row.Seq, yield func(*row.Batch) error) error {
	panic("skeleton")
}

type FlushStats struct {
	Partitions, Rows int
	Bytes            int64
}

func (b *Buffer) Flush(ctx context.Context, match func(row.Partition) bool) (FlushStats, error) {
	panic("skeleton")
}
func (b *Buffer) DropTable(ctx context.Context, id uint64) error { panic("skeleton") }

type PartitionInfo struct {
	Partition row.Partition
	Rows      int
	Bytes     int64
	Oldest    time.Time
	Sealed    bool
}

func (b *Buffer) Partitions() []PartitionInfo { panic("skeleton") }

type Stats struct{}

func (b *Buffer) Stats() Stats     { panic("skeleton") }
func (b *Buffer) Durable() row.Seq { panic("skeleton") }
