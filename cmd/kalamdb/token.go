package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"kalamdb/auth"
	"kalamdb/row"
)

const tokenTTL = 24 * time.Hour

func newToken() *cobra.Command {
	var path, user, role string
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "token --user ID",
		Short: "Print a token of a user, signed with the server's secret",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := commandConfig(c, path)
			if err != nil {
				return err
			}
			who, err := principal(user, role)
			if err != nil {
				return err
			}
			if ttl <= 0 {
				return fmt.Errorf("--ttl is %s, expected more than 0", ttl)
			}
			if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
				return err
			}
			file := secretFile(cfg)
			_, missing := os.Stat(file)
			secret, err := auth.LoadOrCreateSecret(file)
			if err != nil {
				return err
			}
			if errors.Is(missing, fs.ErrNotExist) {
				fmt.Fprintf(c.ErrOrStderr(), "kalamdb: made %s, so far only a server on this data directory accepts the token\n", file)
			}
			token, err := auth.Sign(secret, who, ttl)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), token)
			return err
		},
	}
	addConfigFlag(c, &path)
	c.Flags().StringVar(&user, "user", "", "whose token it is (required)")
	c.Flags().StringVar(&role, "role", auth.User.String(), "user, service, dba or system")
	c.Flags().DurationVar(&ttl, "ttl", tokenTTL, "how long it is valid")
	c.Flags().String("data-dir", defaultConfig().DataDir, "data directory of the server")
	return c
}

// principal checks a user and a role given by hand.
func principal(user, role string) (auth.Principal, error) {
	if user == "" {
		return auth.Principal{}, errors.New("--user is missing: whose token shall it be?")
	}
	id, err := row.ParseUserID(user)
	if err != nil {
		return auth.Principal{}, fmt.Errorf("--user: %w", err)
	}
	r, err := auth.ParseRole(role)
	if err != nil {
		return auth.Principal{}, fmt.Errorf("--role: %w", err)
	}
	return auth.Principal{User: id, Role: r}, nil
}

// secretFile is where a server on the data directory keeps the key of its tokens.
func secretFile(cfg config) string { return filepath.Join(cfg.DataDir, "secret") }
