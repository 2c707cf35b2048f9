package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// An id is 42 bits of milliseconds since idEpoch and 11 bits that count: below 2^53
	// until the year 2163.
	idCounterBits = 11
	idEpoch       = 1704067200000 // 2024-01-01T00:00:00Z, ms since 1970

	// idBlock is how far ahead ids are reserved on disk, so that one fsync pays for a
	// minute of ids.
	idBlock = 60_000 << idCounterBits
)

// ids gives out ids that only grow: over restarts, since what was reserved counts as
// used, and when the clock steps back, since the last id is a lower bound.
type ids struct {
	db  *pebble.DB
	log pebbleLogger

	last     atomic.Int64
	reserved atomic.Int64 // every id below may be given out; on disk

	mu sync.Mutex // held while more is reserved
}

func (s *ids) open(db *pebble.DB, log pebbleLogger) error {
	s.db, s.log = db, log
	value, closer, err := db.Get(keyIDs)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil
	case err != nil:
		return err
	case len(value) != 8:
		err = fmt.Errorf("%w: id high water of %d bytes", ErrCorrupt, len(value))
	default:
		s.last.Store(int64(binary.BigEndian.Uint64(value)) - 1)
		s.reserved.Store(s.last.Load() + 1)
	}
	return errors.Join(err, closer.Close())
}

// NextID gives out an id: larger than every one before, also before a restart, and
// below 2^53. It starts with the time in milliseconds.
func (b *Buffer) NextID() int64 {
	s := &b.ids
	now := (time.Now().UnixMilli() - idEpoch) << idCounterBits
	for {
		last := s.last.Load()
		id := max(now, last+1)
		if id >= s.reserved.Load() {
			s.reserve(id)
			continue
		}
		if s.last.CompareAndSwap(last, id) {
			return id
		}
	}
}

// reserve makes ids up to id and a block beyond durable.
func (s *ids) reserve(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id < s.reserved.Load() {
		return
	}
	high := id + idBlock
	if err := s.db.Set(keyIDs, binary.BigEndian.AppendUint64(nil, uint64(high)), pebble.Sync); err != nil {
		s.log.Fatalf("reserve ids: %v", err)
	}
	s.reserved.Store(high)
}
