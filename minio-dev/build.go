package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A store is an S3 store that is built from source.
type store struct {
	name    string
	folder  string // of the module that pins it
	module  string
	command string // its package
}

var (
	minio     = store{"minio", ".", "github.com/minio/minio", "github.com/minio/minio"}
	versitygw = store{"versitygw", "versitygw", "github.com/versity/versitygw", "github.com/versity/versitygw/cmd/versitygw"}
)

// build returns the program of the version in go.mod, from the user's cache folder.
// If it is not there it is built, which takes minutes the first time. Others who
// want it meanwhile wait.
func (s store) build(ctx context.Context) (program string, err error) {
	version, err := s.goCommand(ctx, "list", "-m", "-f", "{{.Version}}", s.module)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	program = filepath.Join(cache, "kalamdb", s.name+"-"+version)
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(program + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		return program, err
	}
	fmt.Fprintf(os.Stderr, "building %s %s from source, once; this takes some minutes\n", s.name, version)
	unfinished := program + ".new"
	if _, err := s.goCommand(ctx, "build", "-o", unfinished, s.command); err != nil {
		return "", err
	}
	return program, os.Rename(unfinished, program)
}

func (s store) goCommand(ctx context.Context, args ...string) (output string, err error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.folder
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, &problems)
	}
	return strings.TrimSpace(string(out)), nil
}
