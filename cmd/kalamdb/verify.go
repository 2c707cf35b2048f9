package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kalamdb"
	"kalamdb/lake"
)

func newVerify() *cobra.Command {
	var path string
	var mode kalamdb.VerifyMode
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read all that is stored and prove that every row is there once",
		Long: `Verify reads every file that the commit logs name, and the rows of the write buffer,
and compares checksums, footers, the order of keys, the watermarks and the logs. It
prints one line for each problem and exits with 1 if one is left. The server has to be
stopped, unless --bucket-only leaves its write buffer out.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, log, err := commandSettings(c, path)
			if err != nil {
				return err
			}
			report, err := kalamdb.Verify(c.Context(), cfg.database(log), mode)
			if err != nil {
				return err
			}
			return printReport(c.OutOrStdout(), report)
		},
	}
	addStoredFlags(c, &path)
	c.Flags().BoolVar(&mode.BucketOnly, "bucket-only", false, "leave the write buffer out; a server may be running")
	c.Flags().BoolVar(&mode.Repair, "repair", false, "put right what can be put right without loss")
	return c
}

// addStoredFlags adds the flags that say where a database is.
func addStoredFlags(c *cobra.Command, path *string) {
	d := defaultConfig()
	addConfigFlag(c, path)
	c.Flags().String("data-dir", d.DataDir, "folder of the write buffer and the cache")
	c.Flags().String("storage", d.Storage.URL, "where the data lives, s3://bucket/prefix or file:///path (default <data-dir>/storage)")
}

// printReport writes the problems and the sums; the error says how many problems are left.
func printReport(w io.Writer, r *lake.Report) error {
	left := 0
	for _, p := range r.Problems {
		if !p.Repaired {
			left++
		}
		if _, err := fmt.Fprintln(w, p); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s, %s, %s with %s and %s in the bucket; %s in the write buffer; %s that no log names (%s)\n",
		plural(int64(r.Tables), "table"), plural(int64(r.Partitions), "partition"), plural(r.Files, "file"), plural(r.Rows, "row"), plural(r.Bytes, "byte"),
		plural(r.WaitingRows, "row"), plural(r.Orphans, "file"), plural(r.OrphanSize, "byte"))
	if err == nil && left > 0 {
		err = fmt.Errorf("%s, %d repaired", plural(int64(left), "problem"), len(r.Problems)-left)
	}
	return err
}
