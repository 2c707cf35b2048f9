package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// An importState says how far an import has come. It is written before a batch is sent,
// and says of all rows before the batch what became of them.
type importState struct {
	Version  int    `json:"v"`
	Table    string `json:"table"`
	Format   string `json:"format"`
	Position int64  `json:"position"` // everything before it is done: bytes of CSV and NDJSON, rows of Parquet
	Line     int64  `json:"line"`     // the last one that is done
	Sum      string `json:"sum"`      // SHA-256 of the file before Position; of the whole file if Parquet
	Sending  int64  `json:"sending"`  // rows after Position that may be on their way, 0 if none
	Seq      uint64 `json:"seq"`      // every row of an INSERT without an answer has a larger one
	Inserted int64  `json:"inserted"`
	Bad      int64  `json:"bad"`

	file string
}

const importStateVersion = 1

// loadImportState reads the state of an import of src into a table, or begins one.
func loadImportState(ctx context.Context, o *importFlags, server *importServer, into *importTable, src importSource) (*importState, error) {
	s := &importState{Version: importStateVersion, Table: into.name, Format: o.format, file: o.state}
	text, err := os.ReadFile(o.state)
	if errors.Is(err, fs.ErrNotExist) || err == nil && o.restart {
		s.Position = src.start()
		if s.Seq, err = server.newestSeq(ctx, into); err == nil {
			_, err = src.check(ctx, s.Position)
		}
		return s, err
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, s); err != nil || s.Version != importStateVersion {
		return nil, fmt.Errorf("%s is not the state of an import that this version knows; --restart begins anew", o.state)
	}
	if s.Table != into.name || s.Format != o.format {
		return nil, fmt.Errorf("%s is of an import into %s as %s; name another --state, or begin anew with --restart", o.state, s.Table, s.Format)
	}
	sum, err := src.check(ctx, s.Position)
	if err != nil {
		return nil, err
	}
	if hex.EncodeToString(sum) != s.Sum {
		return nil, fmt.Errorf("what was imported of the file has changed since (%s %d and before); --restart begins anew", src.unit(), s.Line)
	}
	return s, nil
}

// save writes the state so that a crash leaves the old one or the new one.
func (s *importState) save() error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.file), filepath.Base(s.file)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.file)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
