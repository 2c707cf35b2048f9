package kalamdb

import (
	"cmp"
	"context"
	"slices"

	"kalamdb/ingest"
	"kalamdb/live"
	"kalamdb/row"
)

// events makes the initial rows of a subscription with IncludeExpired: the newest that a
// stream has, with their Seqs, which tell when they are over.
func (s *Subscription) events(ctx context.Context, spec live.Spec, snap *ingest.Snapshot, last int) error {
	var rows []*row.Row
	if err := snap.Scan(nil, nil, func(_ []byte, r *row.Row) bool {
		kept := r.Clone()
		rows = append(rows, &kept)
		return ctx.Err() == nil
	}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if spec.Filter != nil {
		matched, err := spec.Filter.Match(ctx, rows)
		if err != nil {
			return err
		}
		n := 0
		rows = slices.DeleteFunc(rows, func(*row.Row) bool { n++; return !matched[n-1] })
	}
	slices.SortFunc(rows, func(a, b *row.Row) int { return cmp.Compare(a.Seq, b.Seq) })
	rows = rows[max(0, len(rows)-last):]
	for _, r := range rows {
		s.initial = append(s.initial, s.sub.AppendRow(nil, r))
	}
	s.sub.Keep(rows)
	s.sendInitial = true
	return nil
}
