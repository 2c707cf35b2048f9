package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kalamdb"
)

func newDoctor() *cobra.Command {
	var path string
	var rebuild bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Examine settings, disk, storage, clock, catalog and logs of a stopped server",
		Long: `Doctor examines the data directory, the disk, every storage (it writes and deletes an
object in _kalamdb/probe), the clock, the catalog and the commit log of each table. It exits
with 1 if something is wrong. With --rebuild the logs that cannot be replayed are made anew
from the files that are there; nothing is deleted.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, log, err := commandSettings(c, path)
			if err != nil {
				return err
			}
			if err := checkListen(c.Context(), cfg); err != nil {
				return err
			}
			findings, err := kalamdb.Doctor(c.Context(), cfg.database(log), rebuild)
			wrong := 0
			for _, f := range findings {
				word := "ok  "
				if !f.OK {
					wrong++
					word = "FAIL"
				}
				if _, err := fmt.Fprintf(c.OutOrStdout(), "%s  %s: %s\n", word, f.What, f.Text); err != nil {
					return err
				}
			}
			if err == nil && wrong > 0 {
				err = fmt.Errorf("%d of %d things are wrong", wrong, len(findings))
			}
			return err
		},
	}
	addStoredFlags(c, &path)
	c.Flags().BoolVar(&rebuild, "rebuild", false, "make the logs that cannot be replayed anew")
	return c
}
