package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// tokens is the token in use. turn holds it: who took it out is the only one to read
// it or to ask for another, for as long as that takes.
type tokens struct {
	turn chan string
}

func newTokens(token string) tokens {
	t := tokens{turn: make(chan string, 1)}
	t.turn <- token
	return t
}

// token is the one in use, or another one if that is stale or there is none.
func (c *Client) token(ctx context.Context, stale string) (string, error) {
	select {
	case token := <-c.tokens.turn:
		if token == stale && c.TokenSource != nil {
			newer, err := c.TokenSource(ctx)
			if err != nil {
				c.tokens.turn <- token
				return "", &tokenError{err}
			}
			token = newer
		}
		c.tokens.turn <- token
		return token, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// A tokenError is that TokenSource has failed; it may do better later.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return fmt.Sprintf("get a token: %v", e.err) }

func (e *tokenError) Unwrap() error { return e.err }

// authorised calls do with a token, and once more if the server refuses it and
// another one can be had.
func (c *Client) authorised(ctx context.Context, do func(token string) error) error {
	token, err := c.token(ctx, "")
	if err != nil {
		return err
	}
	err = do(token)
	var refused *Error
	if c.TokenSource == nil || !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		return err
	}
	newer, tokenErr := c.token(ctx, token)
	switch {
	case tokenErr != nil:
		return tokenErr
	case newer == token:
		return err
	}
	return do(newer)
}
