package auth

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"kalamdb/row"
)

const (
	secretBytesMin = 32 // RFC 7518: as long as the hash
	secretBytesMax = 4 << 10
	secretRandom   = 32 // random bytes of a secret we make
)

func checkSecret(secret []byte) error {
	if len(secret) < secretBytesMin || len(secret) > secretBytesMax {
		return fmt.Errorf("the secret has %d bytes, expected %d to %d", len(secret), secretBytesMin, secretBytesMax)
	}
	return nil
}

// LoadOrCreateSecret reads the secret from the file at path. A file that does not
// exist is made, readable by its owner only, with 32 random bytes as hex.
//
// The key is the text of the file without white space around it, not what the hex
// stands for, so that any JWT tool can be handed the same text.
func LoadOrCreateSecret(path string) ([]byte, error) {
	secret, err := loadSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := createSecret(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create the secret: %w", err)
	}
	return loadSecret(path) // ours, or that of a process that was faster
}

func loadSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("the secret %s is open to every user of this machine (mode %v): chmod 600 it", path, info.Mode().Perm())
	}
	if info.Size() > secretBytesMax {
		return nil, fmt.Errorf("the secret %s has %d bytes, expected at most %d", path, info.Size(), secretBytesMax)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	secret := bytes.TrimSpace(text)
	if err := checkSecret(secret); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return secret, nil
}

// createSecret makes the file whole or not at all, and never replaces one.
func createSecret(path string) (err error) {
	random := make([]byte, secretRandom)
	rand.Read(random) // never fails
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, werr := f.WriteString(hex.EncodeToString(random) + "\n")
	if err := errors.Join(werr, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Sign makes a token for p that is valid for ttl from now; p.Expires is not looked at.
func Sign(secret []byte, p Principal, ttl time.Duration) (string, error) {
	if err := checkSecret(secret); err != nil {
		return "", err
	}
	if _, err := row.ParseUserID(string(p.User)); err != nil {
		return "", err
	}
	if ttl < time.Second {
		return "", fmt.Errorf("a token that is valid for %v, expected at least 1s", ttl)
	}
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		claimSubject: string(p.User),
		claimUser:    string(p.User),
		claimRole:    p.Role.String(),
		claimIssued:  float64(now.UnixMilli()) / 1000, // finer than a second: see Principal.Issued
		"exp":        now.Add(ttl).Unix(),
	}).SignedString(secret)
}
