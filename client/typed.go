package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// Select runs one SELECT and decodes its rows as encoding/json does: into a struct by
// the names of the columns, or into a [Row]. A NULL leaves a field at zero; make it a
// pointer to tell the two apart. Columns of BIGINT fit [Int64], of DOUBLE [Float64].
func Select[T any](ctx context.Context, c *Client, sql string, params ...any) ([]T, error) {
	var answer struct {
		Results []struct {
			Rows []json.RawMessage `json:"rows"`
		} `json:"results"`
	}
	if err := c.ask(ctx, sql, params, &answer); err != nil {
		return nil, err
	}
	if n := len(answer.Results); n != 1 {
		return nil, fmt.Errorf("the SQL text has %d statements, expected one SELECT", n)
	}
	return decodeRows[T](answer.Results[0].Rows)
}

// decodeRows is nil for no rows that were sent, and empty for a list of none.
func decodeRows[T any](rows []json.RawMessage) ([]T, error) {
	if rows == nil {
		return nil, nil
	}
	out := make([]T, len(rows))
	for i, r := range rows {
		if err := decode(r, &out[i]); err != nil {
			return nil, fmt.Errorf("a row of the server does not fit %T: %w", out[i], err)
		}
	}
	return out, nil
}

// Int64 is a BIGINT, which is a number in JSON up to 2^53 − 1 and text beyond.
type Int64 int64

// UnmarshalJSON reads a number or text.
func (i *Int64) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	n, err := strconv.ParseInt(string(bytes.Trim(b, `"`)), 10, 64)
	if err != nil {
		return fmt.Errorf("%s is no BIGINT", b)
	}
	*i = Int64(n)
	return nil
}

// Float64 is a FLOAT or DOUBLE, which is text in JSON if it is NaN or an infinity.
type Float64 float64

// UnmarshalJSON reads a number or text.
func (f *Float64) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	n, err := strconv.ParseFloat(string(bytes.Trim(b, `"`)), 64)
	if err != nil {
		return fmt.Errorf("%s is no DOUBLE", b)
	}
	*f = Float64(n)
	return nil
}
