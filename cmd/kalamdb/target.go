package main

import (
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kalamdb/auth"
)

// A target is the server a client command talks to, and as whom.
type target struct {
	config string // path
	url    string
	token  string
	user   string
}

const (
	operator       = "root" // who sql and watch are when nobody says otherwise
	localTokenTTL  = 10 * time.Minute
	defaultURLHint = "http://127.0.0.1:8080"
)

func (t *target) addFlags(c *cobra.Command) {
	server := os.Getenv(envPrefix + "URL")
	if server == "" {
		server = defaultURLHint
	}
	addConfigFlag(c, &t.config)
	c.Flags().StringVar(&t.url, "url", server, "the server")
	c.Flags().StringVar(&t.token, "token", "", "who you are; default: KALAMDB_TOKEN, else one made with the secret of --data-dir")
	c.Flags().StringVar(&t.user, "user", "", "act as this plain user (needs the secret of --data-dir, or a server in dev mode)")
	c.Flags().String("data-dir", defaultConfig().DataDir, "data directory of a server on this machine")
}

// An identity goes with every request: a token, or for a server in dev mode the
// name of a user, or nothing.
type identity struct {
	token   string
	devUser string
}

// identify finds out who the caller is: the token he gave; else a short one that is
// made here, if the server is on this machine and its secret can be read; else what
// a server in dev mode makes of him.
func (t *target) identify(c *cobra.Command) (identity, error) {
	cfg, err := commandConfig(c, t.config)
	if err != nil {
		return identity{}, err
	}
	if t.token != "" && t.user != "" {
		return identity{}, errors.New("--token and --user exclude each other: the token says who you are")
	}
	if t.token != "" {
		return identity{token: t.token}, nil
	}
	if env := os.Getenv(envPrefix + "TOKEN"); env != "" && t.user == "" {
		return identity{token: env}, nil
	}
	user, role := operator, auth.DBA
	if t.user != "" {
		user, role = t.user, auth.User
	}
	who, err := principal(user, role.String())
	if err != nil {
		return identity{}, err
	}
	if !isLocal(t.url) { // a token of this machine's secret is nobody else's business
		return identity{devUser: t.user}, nil
	}
	file := secretFile(cfg)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return identity{devUser: t.user}, nil
	}
	secret, err := auth.LoadOrCreateSecret(file)
	if err != nil {
		return identity{}, err
	}
	token, err := auth.Sign(secret, who, localTokenTTL)
	return identity{token: token}, err
}

func isLocal(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
