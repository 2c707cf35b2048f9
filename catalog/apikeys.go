package catalog

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"kalamdb/auth"
	"kalamdb/row"
)

const (
	apiKeysMax         = 10_000 // a start reads a document for each
	apiKeyNameBytesMax = 256
)

// An APIKey is what is known of a key: the key itself is not.
type APIKey struct {
	ID        string
	Name      string // for people
	User      row.UserID
	Role      auth.Role
	Hash      auth.APIKeyHash
	Created   time.Time
	CreatedBy row.UserID
	Expires   time.Time // zero: never
}

type apiKeyJSON struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	User      string    `json:"user"`
	Role      string    `json:"role"`
	SHA256    string    `json:"sha256"` // of the whole key, in hexadecimal
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Expires   time.Time `json:"expires,omitzero"`
}

func keyDoc(id string) string { return keysFolder + id + suffix }

func (k *APIKey) valid() error {
	_, userErr := row.ParseUserID(string(k.User))
	_, byErr := row.ParseUserID(string(k.CreatedBy))
	switch {
	case !auth.ValidAPIKeyID(k.ID):
		return fmt.Errorf("%w: the id of an API key %q", ErrInvalid, k.ID)
	case userErr != nil || byErr != nil:
		return fmt.Errorf("%w: the API key %s: %w", ErrInvalid, k.ID, errors.Join(userErr, byErr))
	case k.Name == "" || len(k.Name) > apiKeyNameBytesMax || !utf8.ValidString(k.Name) || strings.ContainsFunc(k.Name, unicode.IsControl):
		return fmt.Errorf("%w: the name of an API key, expected 1 to %d bytes of UTF-8 without control characters", ErrInvalid, apiKeyNameBytesMax)
	case k.Role > auth.System:
		return fmt.Errorf("%w: the role of the API key %s is %s", ErrInvalid, k.ID, k.Role)
	}
	return nil
}

func newAPIKeyJSON(k *APIKey) *apiKeyJSON {
	return &apiKeyJSON{k.ID, k.Name, string(k.User), k.Role.String(), hex.EncodeToString(k.Hash[:]), k.Created, string(k.CreatedBy), k.Expires}
}

func (j *apiKeyJSON) key() (*APIKey, error) {
	role, err := auth.ParseRole(j.Role)
	if err != nil {
		return nil, fmt.Errorf("API key %s: %w", j.ID, err)
	}
	k := &APIKey{ID: j.ID, Name: j.Name, User: row.UserID(j.User), Role: role, Created: j.Created, CreatedBy: row.UserID(j.CreatedBy), Expires: j.Expires}
	hash, err := hex.DecodeString(j.SHA256)
	if err != nil || copy(k.Hash[:], hash) != len(k.Hash) || len(hash) != len(k.Hash) {
		return nil, fmt.Errorf("API key %s: sha256 is not one", j.ID)
	}
	return k, k.valid()
}

// APIKey is the key with that id, if there is one. It may have expired.
func (c *Catalog) APIKey(id string) (*APIKey, bool) {
	k, ok := c.state.Load().apiKeys[id]
	return k, ok
}

// APIKeys are all keys, the oldest first.
func (c *Catalog) APIKeys() []*APIKey {
	return slices.SortedFunc(maps.Values(c.state.Load().apiKeys), func(a, b *APIKey) int {
		if order := a.Created.Compare(b.Created); order != 0 {
			return order
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// CreateAPIKey keeps a new key.
func (c *Catalog) CreateAPIKey(ctx context.Context, k APIKey) error {
	if err := k.valid(); err != nil {
		return err
	}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if len(c.state.Load().apiKeys) >= apiKeysMax {
		return fmt.Errorf("%w: there are %d API keys, the limit; drop those that are not used", ErrInvalid, apiKeysMax)
	}
	return c.write(ctx, keyDoc(k.ID), &document{APIKey: newAPIKeyJSON(&k)})
}

// DropAPIKeys revokes keys. One that is not there is no error.
func (c *Catalog) DropAPIKeys(ctx context.Context, ids ...string) error {
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for _, id := range ids {
		if _, ok := c.APIKey(id); !ok {
			continue
		}
		if err := c.remove(ctx, keyDoc(id)); err != nil {
			return err
		}
	}
	return nil
}
