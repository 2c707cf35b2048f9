package main

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kalamdb/sql"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "kalamdb",
		Short:         "SQL with live queries, every user's data as Parquet in your own bucket",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		},
		Args: cobra.ArbitraryArgs, // RunE says which command was meant
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newServe(), newToken(), newSecret(), newUsers(), newKeys(), newSQL(), newWatch(), newImport(), newExport(), newBackup(), newRestore(), newVerify(), newDoctor(), newVersion())
	return root
}

// noArgs refuses words after a command's flags.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return orHelp(c, fmt.Errorf("unexpected %q", args[0]))
}

var unknownFlag = regexp.MustCompile(`^unknown (?:shorthand )?flag: (?:'.+' in )?-{0,2}(\S+)`)

// unknownCommand names the command that was probably meant.
func unknownCommand(root *cobra.Command, word string) error {
	var names []string
	for _, sub := range root.Commands() {
		names = append(names, sub.Name())
	}
	return orHelp(root, unknownWord("command", word, names))
}

// flagError names the flag that was probably meant.
func flagError(c *cobra.Command, err error) error {
	if words := c.Flags().Args(); !c.HasParent() && len(words) > 0 {
		return unknownCommand(c, words[0]) // whose flags nobody knows
	}
	m := unknownFlag.FindStringSubmatch(err.Error())
	if m == nil {
		return orHelp(c, err)
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return orHelp(c, unknownWord("flag", "--"+m[1], names))
}

func unknownWord(what, word string, valid []string) error {
	if near, ok := sql.Nearest(word, valid); ok {
		return fmt.Errorf("unknown %s %s, did you mean %s?", what, word, near)
	}
	return fmt.Errorf("unknown %s %s", what, word)
}

// orHelp points at the help of c.
func orHelp(c *cobra.Command, err error) error {
	return errors.New(err.Error() + " (see " + c.CommandPath() + " --help)")
}
