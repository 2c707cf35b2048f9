package kalamdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kalamdb/jobs"
	"kalamdb/query"
	"kalamdb/row"
	"kalamdb/sql"
	"kalamdb/storagelocations"
)

const transfersAtOnce = 2 // each may hold a turn of the query engine and the memory of a file

const transferCleanMax = 30 * time.Second // for removing what a failed export has written

// transferring runs f as a job that KILL JOB can end, when its turn has come.
func (db *DB) transferring(ctx context.Context, j jobs.Job, f func(ctx context.Context, job *jobs.Running) (string, error)) error {
	job := db.jobs.Enqueue(j)
	ctx, cancel := context.WithCancel(job.Context(ctx))
	defer cancel()
	defer context.AfterFunc(db.ctx, cancel)()
	select {
	case db.transfers <- struct{}{}:
		defer func() { <-db.transfers }()
	case <-ctx.Done():
		job.Finish("", ctx.Err())
		return ctx.Err()
	}
	job.Begin()
	result, err := f(ctx, job)
	job.Finish(result, err)
	return err
}

// export runs EXPORT (query) TO 'url'.
func (db *DB) export(ctx context.Context, s *statement, st *sql.Export) (Result, error) {
	where := fragmentPosition(st.Query)
	plan, err := db.plan(st.Query.Text, where)
	if err != nil {
		return Result{}, err
	}
	if n := len(s.req.Params); n != plan.Params() {
		return Result{}, fail(CodeInvalidParams, "the statement uses %d parameters, %d were given", plan.Params(), n)
	}
	folder, name, format, err := exportTarget(st.URL, st.URLPos, st.Options)
	if err != nil {
		return Result{}, err
	}
	to, err := db.place(ctx, s, folder, st.URLPos)
	if err != nil {
		return Result{}, err
	}
	if err := db.record(s, s.Verb(), ""); err != nil {
		return Result{}, err
	}
	e := &exporter{to: to, format: format, name: name, bytesMax: db.transfer.FileBytesMax}
	err = db.transferring(ctx, jobs.Job{Type: "export", Parameters: []string{"to=" + st.URL}}, func(ctx context.Context, job *jobs.Running) (string, error) {
		e.job, e.ctx = job, ctx
		err := e.run(func() error {
			sources, release := db.sources(s)
			defer release()
			rels, err := sources.relations(ctx, s, plan.Tables(), nil, where)
			if err != nil {
				return err
			}
			return relocated(db.engine.Stream(ctx, plan, rels, s.req.Params, db.session(s), e), where)
		})
		return e.String(), err
	})
	if err != nil {
		return Result{}, db.exportFailed(to, err, st.URLPos)
	}
	return e.result(), nil
}

// exportFailed takes an error that nothing else is known about for one of the place.
func (db *DB) exportFailed(to place, err error, pos int) error {
	if e := asError(err); e.Code != CodeInternal {
		return e
	}
	return db.unreachable(to.URL(), err).at(pos)
}

// exportTarget takes apart where an export goes: a file, or a folder whose files get names.
func exportTarget(url string, pos int, options map[string]string) (folder, name string, f exportFormat, err error) {
	if !strings.Contains(url, "/") || strings.HasPrefix(url, "s3://") && strings.Count(url, "/") == 2 {
		return "", "", f, fail(CodeInvalidLocation, "%q is no url of a file, expected s3://bucket/path/name.parquet or file:///path/name.parquet", url).at(pos)
	}
	folder, name = splitURL(url)
	if f, err = formatOf(name, options); err != nil {
		return "", "", f, asError(err).at(pos)
	}
	return folder, name, f, nil
}

// An exporter writes rows to files of a place. It is the sink of a query.
//
// A file that has bytesMax is put, and the rows go on in another one: of a name.csv the
// second one is name-00002.csv. No file replaces one that is there. An export that fails
// removes the files it has put.
type exporter struct {
	ctx      context.Context
	job      *jobs.Running
	to       place
	format   exportFormat
	name     string // of the first file; "" for part-00001
	bytesMax int

	columns []Column
	sheet   sheet // nil between two files
	rows    int64 // of sheet
	total   int64
	bytes   int64
	files   []exported
}

// An exported is one file of an export.
type exported struct {
	name        string
	rows, bytes int64
}

// run calls fill, whose rows go to Columns and Row, and completes or removes the files.
func (e *exporter) run(fill func() error) error {
	if err := e.free(e.fileName(1)); err != nil {
		return err
	}
	err := fill()
	if err == nil && (e.sheet != nil || len(e.files) == 0) {
		err = e.put()
	}
	if err == nil {
		return nil
	}
	return e.undo(err)
}

// undo removes the files, because of err.
func (e *exporter) undo(err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), transferCleanMax)
	defer cancel()
	for _, f := range e.files {
		err = errors.Join(err, e.to.Delete(ctx, f.name))
	}
	e.files = nil
	return err
}

// free refuses a name that is taken, before the query runs.
func (e *exporter) free(name string) error {
	r, _, err := e.to.Get(e.ctx, name)
	switch {
	case err == nil:
		return errors.Join(e.taken(name), r.Close())
	case errors.Is(err, storagelocations.ErrNotExist):
		return nil
	case errors.Is(err, storagelocations.ErrName):
		return fail(CodeInvalidLocation, "%s", err)
	}
	return err
}

func (e *exporter) taken(name string) error {
	return fail(CodeAlreadyExists, "%s/%s exists, and EXPORT replaces nothing", e.to.URL(), name)
}

// fileName is the name of the n-th file.
func (e *exporter) fileName(n int) string {
	if e.name == "" {
		return fmt.Sprintf("part-%05d%s", n, e.format.extensions[0])
	}
	if n == 1 {
		return e.name
	}
	base, extension := e.name, ""
	if i := strings.LastIndexByte(e.name, '.'); i > 0 {
		base, extension = e.name[:i], e.name[i:]
	}
	return fmt.Sprintf("%s-%05d%s", base, n, extension)
}

// Columns begins the export.
func (e *exporter) Columns(columns []query.Column) error {
	for _, c := range columns {
		e.columns = append(e.columns, Column(c))
	}
	e.sheet = e.format.sheet(e.columns)
	return nil
}

// Row adds a row.
func (e *exporter) Row(values []row.Value) error {
	if e.sheet == nil {
		e.sheet = e.format.sheet(e.columns)
	}
	if err := e.sheet.Write(values); err != nil {
		return err
	}
	e.rows++
	if e.sheet.Size() < e.bytesMax {
		return nil
	}
	return e.put()
}

// put completes the file and puts it.
func (e *exporter) put() error {
	if e.sheet == nil {
		e.sheet = e.format.sheet(e.columns)
	}
	body, err := e.sheet.Bytes()
	if err != nil {
		return err
	}
	name := e.fileName(len(e.files) + 1)
	_, err = e.to.Put(e.ctx, name, body, storagelocations.Cond{IfNoneMatch: true})
	if errors.Is(err, storagelocations.ErrPrecondition) {
		return e.taken(name)
	}
	e.files = append(e.files, exported{name, e.rows, int64(len(body))}) // may be there even if err says no
	if err != nil {
		return err
	}
	e.total, e.bytes = e.total+e.rows, e.bytes+int64(len(body))
	e.sheet, e.rows = nil, 0
	e.job.Report(e.String(), nil)
	return nil
}

func (e *exporter) String() string {
	return fmt.Sprintf("%d rows, %d files, %d bytes", e.total, len(e.files), e.bytes)
}

// result is a row for each file.
func (e *exporter) result() Result {
	res := Result{Columns: []Column{{"file", "VARCHAR"}, {"format", "VARCHAR"}, {"rows", "BIGINT"}, {"bytes", "BIGINT"}}, Rows: [][]row.Value{}}
	for _, f := range e.files {
		res.Rows = append(res.Rows, []row.Value{
			row.TextValue(e.to.URL() + "/" + f.name), row.TextValue(e.format.name), row.IntValue(row.BigInt, f.rows), row.IntValue(row.BigInt, f.bytes),
		})
	}
	return res
}
