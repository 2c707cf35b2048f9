package main

import (
	"strings"

	"github.com/spf13/cobra"

	"kalamdb/sql"
)

func newUsers() *cobra.Command {
	c := &cobra.Command{
		Use:   "users",
		Short: "List, make, change and drop users",
		Long: `The users of system.users, whose role there overrides that of their tokens. Somebody who is
not there is a user all the same, with the role that the token says.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var role, name, metadata string
	options := func(c *cobra.Command) {
		c.Flags().StringVar(&role, "role", "", "user, service, dba or system")
		c.Flags().StringVar(&name, "username", "", "name for people")
		c.Flags().StringVar(&metadata, "metadata", "", "JSON text")
	}
	set := func(c *cobra.Command) string {
		return setOptions(c, "role", role, "username", name, "metadata", metadata)
	}
	c.AddCommand(
		statementCommand("list", "Print all users", 0, nil, func(*cobra.Command, []string) string {
			return "SELECT user_id, username, role, metadata, created_at, updated_at FROM system.users ORDER BY user_id"
		}),
		statementCommand("create ID", "Make a user", 1, options, func(c *cobra.Command, args []string) string {
			return "CREATE USER " + sql.QuoteString(args[0]) + prefixed(" WITH ", set(c))
		}),
		statementCommand("set ID", "Change a user", 1, options, func(c *cobra.Command, args []string) string {
			return "ALTER USER " + sql.QuoteString(args[0]) + " SET " + set(c)
		}),
		statementCommand("drop ID", "Drop a user: tokens and API keys of his end, his rows stay", 1, nil, func(_ *cobra.Command, args []string) string {
			return "DROP USER " + sql.QuoteString(args[0])
		}))
	return c
}

func newKeys() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "List, make and revoke API keys of services",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var user, role, ttl string
	c.AddCommand(
		statementCommand("list", "Print the keys there are, without what is secret of them", 0, nil, func(*cobra.Command, []string) string {
			return "SELECT * FROM system.api_keys ORDER BY created_at"
		}),
		statementCommand("create NAME", "Make a key and print it, this once", 1, func(c *cobra.Command) {
			c.Flags().StringVar(&user, "for", "", "the user it acts as (required)")
			c.Flags().StringVar(&role, "role", "", "user, service, dba or system; default: service")
			c.Flags().StringVar(&ttl, "ttl", "", "how long it is good, like 90d; default: until it is revoked")
		}, func(c *cobra.Command, args []string) string {
			return "CREATE API KEY " + sql.QuoteString(args[0]) + " FOR USER " + sql.QuoteString(user) + prefixed(" WITH ", setOptions(c, "role", role, "ttl", ttl))
		}),
		statementCommand("revoke ID", "End a key at once, connections included", 1, nil, func(_ *cobra.Command, args []string) string {
			return "DROP API KEY " + sql.QuoteString(args[0])
		}))
	return c
}

// statementCommand is a command that has the server run one statement and prints its rows.
func statementCommand(use, short string, args int, flags func(*cobra.Command), statement func(*cobra.Command, []string) string) *cobra.Command {
	var t target
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(args),
		RunE:  func(c *cobra.Command, args []string) error { return runTransfer(c, &t, statement(c, args), "", "") },
	}
	t.addFlags(c)
	if flags != nil {
		flags(c)
	}
	return c
}

// setOptions are the flags that were given, of pairs of name and value, as SQL has them.
func setOptions(c *cobra.Command, pairs ...string) string {
	var set []string
	for i := 0; i < len(pairs); i += 2 {
		if c.Flags().Changed(pairs[i]) {
			set = append(set, pairs[i]+" = "+sql.QuoteString(pairs[i+1]))
		}
	}
	if set == nil {
		return ""
	}
	return "(" + strings.Join(set, ", ") + ")"
}

// prefixed is s behind prefix, or nothing.
func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
