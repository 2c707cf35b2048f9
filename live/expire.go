package live

import (
	"slices"

	"kalamdb/row"
)

// Events of a stream go from the oldest on, so that one Seq says what is over. A live
// query that asked for it ([Selection.Expired]) is given a DELETE of each event that it was
// given before and that is over. It remembers them, which are as many as the stream may
// hold, so that nothing of what is over has to be kept or queued: a Seq cannot overflow.
//
// A DELETE of this kind has the cursor as its Seq, stands between commits, and comes before
// a new event with the key of the one that is over, as [Hub.Over] is called before its commit.

// Over says that the events of p up to a Seq are over. It never blocks.
func (h *Hub) Over(p row.Partition, through row.Seq) {
	if at := h.placeOf(p); at != nil {
		at.end(through)
	}
}

func (p *place) end(through row.Seq) {
	p.in.Lock()
	defer p.in.Unlock()
	if through <= row.Seq(p.over.Load()) {
		return
	}
	p.over.Store(uint64(through))
	if p.expiring.Load() > 0 {
		p.ended = true
		p.wake()
	}
}

// tellOver wakes those who want to hear that events are over. mu is held.
func (p *place) tellOver() {
	for _, r := range p.routes {
		for f := range r.feeds {
			if !f.sel.Expired {
				continue
			}
			for _, s := range f.subs {
				s.mu.Lock()
				s.signal()
				s.mu.Unlock()
			}
		}
	}
}

// A kept is what a subscription remembers to tell what is over.
type kept struct {
	rows   []*row.Row // the events that were delivered and are not over
	inside bool       // more of the commit of the newest event follows
}

// Keep says which events the subscriber has been given otherwise, in order of Seq. It comes
// before the first Next.
func (s *Subscription) Keep(events []*row.Row) { s.kept = &kept{rows: events} }

// overdue is how many of kept are over, 0 while more of a commit is to come.
func (s *Subscription) overdue() int {
	if s.kept == nil || s.kept.inside {
		return 0
	}
	rows, over := s.kept.rows, row.Seq(s.feed.place.over.Load())
	n := 0
	for n < len(rows) && rows[n].Seq <= over && (s.spec.BatchRows <= 0 || n < s.spec.BatchRows) {
		n++
	}
	return n
}

// expire is the DELETE of what is overdue; nil: nothing is. mu is held.
func (s *Subscription) expire() *Event {
	n := s.overdue()
	if n == 0 {
		return nil
	}
	k := s.kept
	rows := slices.Clone(k.rows[:n])
	clear(k.rows[:n])
	if k.rows = k.rows[n:]; len(k.rows) == 0 {
		k.rows = nil
	}
	return &Event{Op: row.Delete, Rows: rows, Gone: rows, Seq: s.cursor, Expired: true, TxnLast: true}
}

// keep remembers an event that is delivered.
func (s *Subscription) keep(e *Event) {
	if !s.spec.Expired {
		return
	}
	if s.kept == nil {
		s.kept = &kept{}
	}
	s.kept.rows = append(s.kept.rows, e.Rows...)
	s.kept.inside = !e.TxnLast
}
