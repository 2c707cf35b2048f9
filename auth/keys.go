package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keysStale is how old the answer may be to whether the file of the secrets has changed.
const keysStale = time.Second

// An ownKeys holds the HS256 keys of the server. A file of them is read again within a
// second of its change, so that a key is replaced, and an old one taken out, while the
// server runs.
type ownKeys struct {
	path    string
	changed func() // called when the keys are others than before

	mu     sync.RWMutex // guards what follows; reading the file, a small local one, happens under it
	keys   [][]byte     // the newest first
	stamp  fileStamp
	looked time.Time
}

// A fileStamp tells one state of a file from another.
type fileStamp struct {
	modified time.Time
	size     int64
}

func stampOf(path string) (fileStamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}, err
	}
	return fileStamp{info.ModTime(), info.Size()}, nil
}

// look reads the file again if it has changed. A file that cannot be read or is not valid
// leaves the keys as they are: a slip of the operator's pen locks nobody out.
func (k *ownKeys) look() {
	if k.path == "" {
		return
	}
	now := time.Now()
	k.mu.RLock()
	fresh := now.Sub(k.looked) < keysStale
	k.mu.RUnlock()
	if fresh {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looked = now
	stamp, err := stampOf(k.path)
	if err != nil || stamp == k.stamp {
		return
	}
	keys, err := LoadSecrets(k.path)
	if err != nil {
		return
	}
	k.stamp = stamp
	if !slices.EqualFunc(keys, k.keys, slices.Equal) {
		k.keys = keys
		k.changed()
	}
}

// find is the key that a token is signed with, as its header says, or all of them.
func (k *ownKeys) find(t *jwt.Token) (any, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	kid, named := t.Header["kid"].(string)
	var set jwt.VerificationKeySet
	for _, key := range k.keys {
		if named && kid == KeyID(key) {
			return key, nil
		}
		set.Keys = append(set.Keys, key)
	}
	return set, nil // also for a kid that is not ours: whoever has the secret may name it as he likes
}

// KeyID is the kid of a secret in the tokens that are signed with it.
func KeyID(secret []byte) string {
	sum := sha256.Sum256(append([]byte("kalamdb kid "), secret...))
	return hex.EncodeToString(sum[:4])
}
