package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// importFlags are what the import command can be told besides its target.
type importFlags struct {
	table     string
	format    string
	columns   []string
	noHeader  bool
	delimiter string
	null      string
	batchRows int
	badRows   string
	maxBad    int
	state     string
	restart   bool
	inFlight  string
}

const importRowsMax = 10_000 // of one batch, the server's limit for one INSERT

func newImport() *cobra.Command {
	var t target
	var o importFlags
	c := &cobra.Command{
		Use:   "import FILE --table namespace.table",
		Short: "Send the rows of a Parquet, CSV or NDJSON file to a table",
		Long: `Import sends the rows of a file in batches, in their order, as INSERTs of the caller. After
each batch it notes in a state file, FILE.kalamdb-import, how far it has come: the same
command goes on there after an error or a kill, and a file that has grown since gives only
its new rows. A row that cannot be inserted is reported by its line. The first one ends the
import; with --bad-rows it is written to a file and the import goes on.

Every row arrives once if the file has all columns of the primary key. Else the batch that
was on its way when the import was cut off may or may not have arrived: import then stops
and asks for --in-flight.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return orHelp(c, fmt.Errorf("expected one file, got %d arguments", len(args)))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return runImport(c, &t, &o, args[0]) },
	}
	t.addFlags(c)
	f := c.Flags()
	f.StringVar(&o.table, "table", "", "the table, as namespace.table or table")
	f.StringVar(&o.format, "format", "", "parquet, csv or ndjson; default: by the name of the file")
	f.StringSliceVar(&o.columns, "columns", nil, "CSV: the columns of the table for those of the file, instead of its header")
	f.BoolVar(&o.noHeader, "no-header", false, "CSV: the first line is a row; without --columns the file has the table's columns in their order")
	f.StringVar(&o.delimiter, "delimiter", ",", `CSV: what is between two fields, one character or \t`)
	f.StringVar(&o.null, "null", "", "CSV: what means NULL when it is not in quotes")
	f.IntVar(&o.batchRows, "batch-rows", 5000, "rows of one INSERT at most")
	f.StringVar(&o.badRows, "bad-rows", "", "append rows that cannot be inserted to this file, as JSON lines with the reason")
	f.IntVar(&o.maxBad, "max-bad", 0, "go on after so many bad rows; with --bad-rows any number unless this says otherwise")
	f.StringVar(&o.state, "state", "", "the state file; default FILE.kalamdb-import")
	f.BoolVar(&o.restart, "restart", false, "forget the state and begin at the first row")
	f.StringVar(&o.inFlight, "in-flight", "", "what to do with a batch that may have arrived: again or skip")
	return c
}

// check completes o.
func (o *importFlags) check(c *cobra.Command, file string) error {
	if o.table == "" {
		return orHelp(c, errors.New("--table is missing"))
	}
	if o.format == "" {
		o.format = strings.TrimPrefix(strings.ToLower(filepath.Ext(file)), ".")
		if o.format == "json" || o.format == "jsonl" {
			o.format = "ndjson"
		}
	}
	formats := []string{"parquet", "csv", "ndjson"}
	if !slices.Contains(formats, o.format) {
		return orHelp(c, fmt.Errorf("%s is no format that can be imported: say --format parquet, csv or ndjson", quoted(o.format)))
	}
	for _, name := range []string{"columns", "no-header", "delimiter", "null"} {
		if o.format != "csv" && c.Flags().Changed(name) {
			return orHelp(c, fmt.Errorf("--%s is for CSV", name))
		}
	}
	if o.delimiter == `\t` {
		o.delimiter = "\t"
	}
	if r := []rune(o.delimiter); len(r) != 1 || strings.ContainsRune("\"\r\n\uFFFD", r[0]) {
		return fmt.Errorf("--delimiter %s is not one character that can stand between fields", quoted(o.delimiter))
	}
	if o.batchRows < 1 || o.batchRows > importRowsMax {
		return fmt.Errorf("--batch-rows %d is not from 1 to %d", o.batchRows, importRowsMax)
	}
	if o.inFlight != "" && o.inFlight != "again" && o.inFlight != "skip" {
		return fmt.Errorf("--in-flight %s is neither again nor skip", quoted(o.inFlight))
	}
	if o.badRows != "" && !c.Flags().Changed("max-bad") {
		o.maxBad = -1
	}
	if o.state == "" {
		o.state = file + ".kalamdb-import"
	}
	return nil
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// runImport wires an import together.
func runImport(c *cobra.Command, t *target, o *importFlags, file string) (err error) {
	if err := o.check(c, file); err != nil {
		return err
	}
	ctx := c.Context()
	server := &importServer{identify: func() (identity, error) { return t.identify(c) }, url: t.url, log: c.ErrOrStderr()}
	defer server.close()
	into, err := server.describe(ctx, o.table)
	if err != nil {
		return err
	}
	src, err := openImport(ctx, file, o, into)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	im := &importer{server: server, table: into, source: src, batchRows: o.batchRows, maxBad: o.maxBad, inFlight: o.inFlight, log: c.ErrOrStderr()}
	if im.state, err = loadImportState(ctx, o, server, into, src); err != nil {
		return err
	}
	if o.badRows != "" {
		f, err := os.OpenFile(o.badRows, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		im.badRows = f
	}
	from := im.state.Inserted
	im.progress = newProgress(c.ErrOrStderr(), "import "+into.name)
	began := time.Now()
	err = im.run(ctx)
	im.progress.done()
	took := time.Since(began)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, im.wayOn())
	}
	return im.report(c.OutOrStdout(), im.state.Inserted-from, took)
}

// report says what was done.
func (im *importer) report(w io.Writer, rows int64, took time.Duration) error {
	bad := ""
	if im.state.Bad > 0 {
		bad = fmt.Sprintf(", %s", plural(im.state.Bad, "bad row"))
	}
	before := ""
	if rows != im.state.Inserted {
		before = fmt.Sprintf(" (%d with the runs before)", im.state.Inserted)
	}
	_, err := fmt.Fprintf(w, "%s imported into %s in %s, %.0f rows/s%s%s\n", plural(rows, "row"), im.table.name, took.Round(time.Millisecond), float64(rows)/max(took.Seconds(), 1e-3), bad, before)
	return err
}

// wayOn says where an import that failed stands.
func (im *importer) wayOn() string {
	return fmt.Sprintf("%s imported so far, up to %s %d; the same command goes on there", plural(im.state.Inserted, "row"), im.source.unit(), im.state.Line)
}

// run sends what the state says is left of the file.
func (im *importer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	batches, failed := make(chan *batch, 1), make(chan error, 1) // one is made while another is sent
	go func() {
		defer close(batches)
		failed <- im.read(ctx, batches)
	}()
	err := im.sendAll(ctx, batches)
	cancel()
	for range batches { // until the reader has ended
	}
	if err == nil {
		return <-failed
	}
	return err
}
