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

// LoadOrCreateSecret is the first of [LoadSecrets]: the key that signs. A file that does
// not exist is made, readable by its owner only, with 32 random bytes as hex.
func LoadOrCreateSecret(path string) ([]byte, error) {
	secrets, err := LoadSecrets(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createSecret(path, newSecret()+"\n"); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("create the secret: %w", err)
		}
		secrets, err = LoadSecrets(path) // ours, or that of a process that was faster
	}
	if err != nil {
		return nil, err
	}
	return secrets[0], nil
}

// LoadSecrets reads the keys from the file at path, one a line, the newest first: that one
// signs, and tokens of all of them are good.
//
// A key is the text of its line without white space around it, not what the hex stands
// for, so that any JWT tool can be handed the same text.
func LoadSecrets(path string) ([][]byte, error) {
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
	var secrets [][]byte
	for line := range bytes.Lines(text) {
		secret := bytes.TrimSpace(line)
		if len(secret) == 0 {
			continue
		}
		if err := checkSecret(secret); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("%s: %w", path, checkSecret(nil))
	}
	return secrets, nil
}

// RotateSecret puts a new key in front of those in the file at path; tokens of the others
// stay good until [RetireSecrets].
func RotateSecret(path string) error {
	secrets, err := LoadSecrets(path)
	if err != nil {
		return err
	}
	return replaceSecrets(path, append([][]byte{[]byte(newSecret())}, secrets...))
}

// RetireSecrets leaves only the newest key in the file at path, and says how many went.
// Tokens that are signed with them end.
func RetireSecrets(path string) (int, error) {
	secrets, err := LoadSecrets(path)
	if err != nil || len(secrets) == 1 {
		return 0, err
	}
	return len(secrets) - 1, replaceSecrets(path, secrets[:1])
}

func replaceSecrets(path string, secrets [][]byte) error {
	text := string(bytes.Join(secrets, []byte("\n"))) + "\n"
	if len(text) > secretBytesMax {
		return fmt.Errorf("%s would hold %d keys in %d bytes, the limit is %d bytes: retire the old ones first", path, len(secrets), len(text), secretBytesMax)
	}
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := createSecret(next, text); err != nil {
		return fmt.Errorf("write the secret: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncFolder(path)
}

func newSecret() string {
	random := make([]byte, secretRandom)
	rand.Read(random) // never fails
	return hex.EncodeToString(random)
}

// createSecret makes the file with text whole or not at all, and never replaces one.
func createSecret(path, text string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, werr := f.WriteString(text)
	if err := errors.Join(werr, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(path)
}

// syncFolder makes the name of a file durable.
func syncFolder(path string) error {
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
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss":        ownIssuer,
		claimSubject: string(p.User),
		claimUser:    string(p.User),
		claimRole:    p.Role.String(),
		claimIssued:  float64(now.UnixMilli()) / 1000, // finer than a second: see Principal.Issued
		"exp":        now.Add(ttl).Unix(),
	})
	t.Header["kid"] = KeyID(secret)
	return t.SignedString(secret)
}
