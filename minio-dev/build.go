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

const minioModule = "github.com/minio/minio"

// build returns the MinIO of the version in go.mod, from the user's cache folder.
// If it is not there it is built, which takes minutes the first time. Others who
// want it meanwhile wait.
func build(ctx context.Context) (program string, err error) {
	version, err := goCommand(ctx, "list", "-m", "-f", "{{.Version}}", minioModule)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	program = filepath.Join(cache, "kalamdb", "minio-"+version)
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
	fmt.Fprintf(os.Stderr, "building MinIO %s from source, once; this takes some minutes\n", version)
	unfinished := program + ".new"
	if _, err := goCommand(ctx, "build", "-o", unfinished, minioModule); err != nil {
		return "", err
	}
	return program, os.Rename(unfinished, program)
}

func goCommand(ctx context.Context, args ...string) (output string, err error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, &problems)
	}
	return strings.TrimSpace(string(out)), nil
}
