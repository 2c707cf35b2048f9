package ingest

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kalamdb/row"
)

// Rows that cannot be stored keep no other partition waiting, and go when they can.
func TestPoisonedPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, p := newFakeSink(), &policy{}
		p.age.Store(int64(time.Minute))
		sink.poison.Store(row.UserID("ana"))
		var failed, worked atomic.Int64
		b := start(t, Options{Sink: sink, Policy: p.get, Events: Events{Flushed: func(i FlushInfo) {
			if i.Err != nil {
				failed.Add(1)
			} else {
				worked.Add(1)
			}
		}}})
		defer b.stop()
		b.commit(ana, insert(1, ""))
		for i := range 10 {
			b.commit(ben, insert(int64(i), ""))
			time.Sleep(2 * time.Minute)
			b.commit(ana, insert(int64(i+2), "more, behind the poison"))
		}
		time.Sleep(2 * time.Minute)
		if n := len(sink.stored(ben)); n != 10 {
			t.Errorf("ben has %d rows in the lake, expected 10", n)
		}
		if n := len(b.rowsOf(ana)); n != 11 {
			t.Errorf("ana has %d buffered rows, expected 11", n)
		}
		if infos := b.Partitions(); len(infos) != 1 || infos[0].Partition != ana || !infos[0].Quarantined {
			t.Errorf("%+v, expected ana in quarantine", infos)
		}
		if failed, worked := failed.Load(), worked.Load(); failed < 3 || failed > 8 || worked < 10 {
			t.Errorf("%d rounds failed in 22 minutes and %d worked, expected one failure about every five minutes and ten that worked", failed, worked)
		}
		b.commit(ben, insert(100, ""))
		_, err := b.Flush(context.Background(), func(row.Partition) bool { return true })
		if err == nil || !strings.Contains(err.Error(), "ana: poisoned") {
			t.Errorf("FLUSH ALL: %v, expected what is wrong with ana", err)
		}
		synctest.Wait()
		if n := len(sink.stored(ben)); n != 11 {
			t.Errorf("ben has %d rows in the lake after FLUSH ALL, expected 11", n)
		}
		if _, err := b.Flush(context.Background(), func(p row.Partition) bool { return p == ben }); err != nil {
			t.Errorf("FLUSH of ben alone: %v", err)
		}
		sink.poison.Store(row.UserID(""))
		time.Sleep(retryMax + 2*time.Minute)
		if n := len(sink.stored(ana)); n != 11 {
			t.Errorf("ana has %d rows in the lake after the cure, expected 11", n)
		}
	})
}
