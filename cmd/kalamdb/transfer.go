package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kalamdb/sql"
)

func newExport() *cobra.Command {
	var t target
	var to, format, rowsOf string
	c := &cobra.Command{
		Use:   `export ["SELECT ..."] --to URL`,
		Short: "Let the server write the rows of a query, or of one user, to a place",
		Long: `Export runs EXPORT (query) TO 'url', or with --rows-of EXPORT USER 'id' TO 'url'. The url is
s3://bucket/path/name.parquet (or .csv, .json), or a path of the server's machine in one of its
transfer.folders; one that ends with / is a folder.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" {
				return orHelp(c, errors.New("--to is missing"))
			}
			if (len(args) == 1) == (rowsOf != "") {
				return orHelp(c, errors.New("expected either one SELECT in quotes or --rows-of"))
			}
			text, job := "EXPORT USER "+sql.QuoteString(rowsOf), "export"
			if rowsOf == "" {
				text, job = "EXPORT ("+strings.TrimRight(strings.TrimSpace(args[0]), ";")+"\n)", "export"
			}
			if text += " TO " + sql.QuoteString(to); format != "" {
				text += " WITH (format = " + sql.QuoteString(format) + ")"
			}
			return runTransfer(c, &t, text, job, "to="+to)
		},
	}
	t.addFlags(c)
	c.Flags().StringVar(&to, "to", "", "where to")
	c.Flags().StringVar(&format, "format", "", "parquet, csv or json; default: by the name of the file")
	c.Flags().StringVar(&rowsOf, "rows-of", "", "the current rows of this user, a file for each table")
	return c
}

func newBackup() *cobra.Command {
	var t target
	var to, list string
	c := &cobra.Command{
		Use:   "backup NAMESPACE --to URL",
		Short: "Let the server copy a namespace as it is now, or list what is there",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case list != "" && len(args) == 0 && to == "":
				return runTransfer(c, &t, "SHOW BACKUP "+sql.QuoteString(list), "", "")
			case list != "" || len(args) == 0 || to == "":
				return orHelp(c, errors.New("expected a namespace and --to, or --list alone"))
			}
			return runTransfer(c, &t, "BACKUP DATABASE "+sql.QuoteIdent(args[0])+" TO "+sql.QuoteString(to), "backup", "to="+to)
		},
	}
	t.addFlags(c)
	c.Flags().StringVar(&to, "to", "", "where to, s3://bucket/path or a path in the server's transfer.folders; only what is new is copied")
	c.Flags().StringVar(&list, "list", "", "list the backups at this url")
	return c
}

func newRestore() *cobra.Command {
	var t target
	var from, as string
	var at uint64
	c := &cobra.Command{
		Use:   "restore NAMESPACE --from URL",
		Short: "Let the server make a namespace again from a backup",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if from == "" {
				return orHelp(c, errors.New("--from is missing"))
			}
			text := "RESTORE DATABASE " + sql.QuoteIdent(args[0]) + " FROM " + sql.QuoteString(from)
			if c.Flags().Changed("at") {
				text += fmt.Sprintf(" AT %d", at)
			}
			if as != "" {
				text += " AS " + sql.QuoteIdent(as)
			}
			return runTransfer(c, &t, text, "restore", "from="+from)
		},
	}
	t.addFlags(c)
	c.Flags().StringVar(&from, "from", "", "where the backup is")
	c.Flags().Uint64Var(&at, "at", 0, "the number of the backup; default: the newest")
	c.Flags().StringVar(&as, "as", "", "another name for the namespace")
	return c
}

// runTransfer runs a statement that takes its time, and shows meanwhile what its job in
// system.jobs says of itself.
func runTransfer(c *cobra.Command, t *target, text, job, parameter string) error {
	who, err := t.identify(c)
	if err != nil {
		return err
	}
	r := newRemote(t.url, who)
	defer r.c.Close()
	p := newProgress(c.ErrOrStderr(), c.Name())
	ctx, cancel := context.WithCancel(c.Context())
	var watching sync.WaitGroup
	if job != "" {
		watching.Go(func() { followJob(ctx, r, job, parameter, p) })
	}
	outcomes, err := r.exec(c.Context(), text, "")
	cancel()
	watching.Wait()
	p.done()
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if err := printTable(c.OutOrStdout(), o); err != nil {
			return err
		}
	}
	return nil
}

const jobEvery = 500 * time.Millisecond

// followJob shows what the newest job of a type with a parameter says, until ctx is done.
func followJob(ctx context.Context, r remote, job, parameter string, p *progress) {
	text := "SELECT result FROM system.jobs WHERE status = 'running' AND job_type = $1 AND list_contains(parameters, $2) ORDER BY start_time DESC LIMIT 1"
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(jobEvery):
		}
		results, err := r.c.Exec(ctx, text, job, parameter)
		if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
			continue // it is only to be seen
		}
		if said, ok := results[0].Rows[0]["result"].(string); ok {
			p.note(said)
		}
	}
}
