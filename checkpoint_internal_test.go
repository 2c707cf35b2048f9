package kalamdb

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A checkpoint does not overtake what led to the snapshot, however long reading that takes.
func TestCheckpointWaitsForThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, reading = time.Second, 10 * time.Second
		p := &prover{every: every, base: 9, seq: 1, due: time.Now(), stale: true, result: Checkpoint{Rows: 5}}
		past := []Event{{Change: "INSERT", Seq: 3, TxnLast: true}, {Change: "INSERT", Seq: 7, TxnLast: true}}
		next := func(ctx context.Context) (Event, error) {
			took := reading
			if len(past) == 0 {
				took = time.Hour // nothing comes
			}
			select {
			case <-ctx.Done():
				return Event{}, ctx.Err()
			case <-time.After(took):
			}
			e := past[0]
			past = past[1:]
			return e, nil
		}
		for _, want := range []uint64{3, 7, 9} {
			e, err := p.next(t.Context(), next, func() bool { return len(past) == 0 })
			if err != nil || uint64(e.Seq) != want || (e.Checkpoint != nil) != (want == 9) {
				t.Fatalf("%+v, %v, expected seq %d", e, err, want)
			}
		}
	})
}
