package kalamdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// nodeID is the name of this data directory in commit logs, made at the first start.
// It tells a late write of the process before, which crashed, from one of another
// server. The caller holds the lock of the directory.
func nodeID(dir string) (string, error) {
	name := filepath.Join(dir, "node")
	known, err := knownNodeID(dir)
	if err == nil && known == "" {
		id := uuid.NewString()
		// A crash before the rename is a first start again; nothing is committed yet.
		temp := name + ".new"
		if err := os.WriteFile(temp, []byte(id), 0o600); err != nil {
			return "", err
		}
		return id, os.Rename(temp, name)
	}
	return known, err
}

// knownNodeID is the name that the data directory has, "" before its first start.
func knownNodeID(dir string) (string, error) {
	name := filepath.Join(dir, "node")
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if _, err := uuid.ParseBytes(b); err != nil {
		return "", fmt.Errorf("%s does not hold a UUID; if the file is damaged remove it: %w", name, err)
	}
	return string(b), nil
}
