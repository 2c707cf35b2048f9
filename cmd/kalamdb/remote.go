package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"kalamdb/client"
)

// A remote is a server as the sql command sees it.
type remote struct{ c *client.Client }

func newRemote(url string, who identity) remote {
	c := client.New(url, who.token)
	c.UserID = who.devUser
	return remote{c}
}

// exec runs text; an error of the server shows the place in text it is about.
func (r remote) exec(ctx context.Context, text, namespace string) ([]outcome, error) {
	r.c.Namespace = namespace
	results, err := r.c.Exec(ctx, text)
	if err != nil {
		return nil, located(text, err)
	}
	outcomes := make([]outcome, 0, len(results))
	for _, res := range results {
		o := outcome{statement: res.Statement, seq: res.Seq, took: time.Duration(res.Millis * float64(time.Millisecond))}
		if res.Affected != nil {
			o.write, o.affected = true, *res.Affected
		}
		for _, column := range res.Columns {
			o.columns = append(o.columns, column.Name)
		}
		for _, row := range res.Rows {
			cells := make([]json.RawMessage, len(o.columns))
			for i, name := range o.columns {
				if cells[i], err = encode(row[name]); err != nil {
					return nil, err
				}
			}
			o.rows = append(o.rows, cells)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// located is err, if it is the server's, with a caret under its place in text.
func located(text string, err error) error {
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Code == "INVALID_REQUEST" { // whose position is one of the request's body
		return err
	}
	return errors.New(showError(text, refused.Position, refused.Code, refused.Message, refused.Details))
}

// encode is v as JSON, with <, > and & as they are.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
