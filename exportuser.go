package kalamdb

import (
	"context"
	"fmt"
	"time"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/jobs"
	"kalamdb/row"
	"kalamdb/sql"
)

// exportUser runs EXPORT USER 'id' TO 'url': one file for each USER table in which the user has
// rows, url/<namespace>/<table>.parquet, all of one moment. If one fails, none stays.
func (db *DB) exportUser(ctx context.Context, s *statement, st *sql.ExportUser) (Result, error) {
	to, err := db.place(ctx, s, st.URL, st.URLPos)
	if err != nil {
		return Result{}, err
	}
	format, err := formatOf("", st.Options)
	if err != nil {
		return Result{}, asError(err).at(st.URLPos)
	}
	id := row.UserID(st.User)
	if err := db.record(s, s.Verb(), id); err != nil {
		return Result{}, err
	}
	req := *s.req
	req.As, req.Params = auth.Principal{User: id, Role: auth.User}, nil
	inner := *s
	inner.req, inner.now = &req, time.Now()
	res := (&exporter{}).result()
	err = db.transferring(ctx, jobs.Job{Type: "export", User: st.User, Parameters: []string{"to=" + st.URL}}, func(ctx context.Context, job *jobs.Running) (string, error) {
		moment, release := db.sources(&inner)
		defer release()
		var done []*exporter
		for _, t := range db.userTables() {
			e := &exporter{ctx: ctx, job: job, to: to, format: format, name: t.Ref.Namespace + "/" + t.Ref.Name + format.extensions[0], bytesMax: db.transfer.FileBytesMax}
			has, err := db.exportTable(ctx, &inner, moment, t, e)
			if err != nil {
				for _, e := range done {
					err = e.undo(err)
				}
				return "", err
			}
			if has {
				done = append(done, e)
				res.Rows = append(res.Rows, e.result().Rows...)
			}
		}
		return fmt.Sprintf("%d tables", len(done)), nil
	})
	if err != nil {
		return Result{}, db.exportFailed(to, err, st.URLPos)
	}
	return res, nil
}

// exportTable exports the rows of one table, if the caller of s has any.
func (db *DB) exportTable(ctx context.Context, s *statement, moment *tableSources, t *catalog.Table, e *exporter) (has bool, err error) {
	moment.open()
	p, err := moment.at(ctx, s.partition(t))
	if err != nil {
		return false, err
	}
	if p.snap.Len() == 0 && len(p.files) == 0 {
		return false, nil
	}
	where := func(int) int { return s.Start() }
	plan, err := db.plan("SELECT *, _seq FROM "+sql.QuoteIdent(t.Ref.Namespace)+"."+sql.QuoteIdent(t.Ref.Name), where)
	if err != nil {
		return false, err
	}
	return true, e.run(func() error {
		rels, err := moment.relations(ctx, s, plan.Tables(), nil, where)
		if err != nil {
			return err
		}
		return relocated(db.engine.Stream(ctx, plan, rels, nil, db.session(s), e), where)
	})
}
