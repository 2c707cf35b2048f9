package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
)

// An API key is a token for a service that cannot fetch a new one every day:
//
//	kalam_<id>_<secret>
//
// The id names the key where it is listed, audited and revoked. The secret has 130 random
// bits, so a plain hash of the key is enough to keep: nobody can try them all, and the
// check of a request costs a microsecond. The prefix lets a scanner of repositories and
// logs find a key that has leaked.
const (
	apiKeyPrefix   = "kalam_"
	apiKeyIDLen    = 12
	apiKeyBytesMax = 128
)

// An APIKeyHash is what is kept of an API key.
type APIKeyHash [sha256.Size]byte

// NewAPIKey makes a key: its id, the text that its owner gets and nobody sees again, and
// the hash to keep.
func NewAPIKey() (id, key string, hash APIKeyHash) {
	id = strings.ToLower(rand.Text()[:apiKeyIDLen])
	key = apiKeyPrefix + id + "_" + rand.Text()
	return id, key, sha256.Sum256([]byte(key))
}

// IsAPIKey says whether a token is meant to be an API key and not a JWT.
func IsAPIKey(token string) bool { return strings.HasPrefix(token, apiKeyPrefix) }

// APIKeyID is the id of the key in token, if it has the form of one.
func APIKeyID(token string) (id string, ok bool) {
	if !IsAPIKey(token) || len(token) > apiKeyBytesMax {
		return "", false
	}
	id, secret, _ := strings.Cut(token[len(apiKeyPrefix):], "_")
	return id, ValidAPIKeyID(id) && secret != ""
}

// ValidAPIKeyID says whether id may be that of a key: it is part of the name of an object.
func ValidAPIKeyID(id string) bool {
	return len(id) == apiKeyIDLen && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// Of says whether h is the hash of key. It takes as long for a wrong key as for the right one.
func (h APIKeyHash) Of(key string) bool {
	sum := sha256.Sum256([]byte(key))
	return subtle.ConstantTimeCompare(h[:], sum[:]) == 1
}
