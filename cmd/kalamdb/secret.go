package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kalamdb/auth"
)

func newSecret() *cobra.Command {
	c := &cobra.Command{
		Use:   "secret",
		Short: "Replace the key that signs tokens",
		Long: `The file secret of the data directory holds the keys of the server's tokens, one a
line. The first signs; tokens of all of them are good. A running server reads the file
again within a second.

  kalamdb secret list      the ids of the keys (kid in the header of their tokens)
  kalamdb secret rotate    put a new key in front
  kalamdb secret retire    drop all keys but the first: tokens of theirs end`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		newSecretCommand("list", "Print the ids of the keys, the one that signs first", nil),
		newSecretCommand("rotate", "Put a new key in front of the others", auth.RotateSecret),
		newSecretCommand("retire", "Drop all keys but the first", func(path string) error {
			_, err := auth.RetireSecrets(path)
			return err
		}))
	return c
}

// newSecretCommand changes the file, if change is not nil, and lists its keys.
func newSecretCommand(use, short string, change func(path string) error) *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := commandConfig(c, config)
			if err != nil {
				return err
			}
			path := secretFile(cfg)
			if change != nil {
				if err := change(path); err != nil {
					return err
				}
			}
			secrets, err := auth.LoadSecrets(path)
			if err != nil {
				return err
			}
			for i, secret := range secrets {
				what := "is accepted"
				if i == 0 {
					what = "signs"
				}
				if _, err := fmt.Fprintln(c.OutOrStdout(), auth.KeyID(secret), what); err != nil {
					return err
				}
			}
			return nil
		},
	}
	addConfigFlag(c, &config)
	c.Flags().String("data-dir", defaultConfig().DataDir, "data directory of the server")
	return c
}
