package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
)

const (
	jwksBytesMax   = 1 << 20
	jwksTimeout    = 5 * time.Second
	jwksAge        = 15 * time.Minute // keys older than this are fetched again when one is needed
	jwksPause      = 10 * time.Second // at least, between two fetches
	rsaBitsMin     = 2048
	foreignKeysMax = 100
)

// The algorithms of keys that belong to somebody else.
var foreignAlgorithms = []string{"RS256", "ES256", "EdDSA"}

// A foreignKey is a public key of an identity provider, with the one algorithm it is for.
type foreignKey struct {
	id  string // kid, may be empty
	alg string
	key crypto.PublicKey
}

// foreignKeys are the keys of an identity provider: those of a PEM file, and those that a
// JWKS address gives. The second are fetched when a token needs them, when they are old, and
// for a kid that nobody knows, which is how a new key of the provider shows itself. Between
// two fetches is a pause, so that tokens with invented kids do not make the server a client
// without rest. Keys stay good while the address does not answer.
type foreignKeys struct {
	fixed   []foreignKey
	jwks    string // url, empty for none
	client  *http.Client
	changed func() // called when the keys are others than before

	mu       sync.Mutex // guards what follows; nothing blocks under it
	fetched  []foreignKey
	sum      [sha256.Size]byte // of what they were read from
	at       time.Time         // of the last fetch that went well
	tried    time.Time         // when the last fetch began
	fetching chan struct{}     // closed when the fetch that runs is over; nil if none runs
	fault    error             // of the last fetch
}

func newForeignKeys(o Options, changed func()) (*foreignKeys, error) {
	k := &foreignKeys{jwks: o.JWKS, changed: changed, client: &http.Client{Timeout: jwksTimeout, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		return checkJWKS(r.URL.String())
	}}}
	if o.JWKS != "" {
		if err := checkJWKS(o.JWKS); err != nil {
			return nil, err
		}
	}
	if o.PEMFile != "" {
		text, err := os.ReadFile(o.PEMFile)
		if err != nil {
			return nil, fmt.Errorf("read the keys of tokens: %w", err)
		}
		if k.fixed, err = readPEM(text); err != nil {
			return nil, fmt.Errorf("%s: %w", o.PEMFile, err)
		}
	}
	return k, nil
}

// checkJWKS refuses an address whose answer anybody on the way could change.
func checkJWKS(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the JWKS address is not a URL: %w", err)
	}
	local := u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	if u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return fmt.Errorf("the JWKS address %q, expected https:// (http:// only on this machine)", address)
	}
	return nil
}

// readPEM reads public keys and certificates.
func readPEM(text []byte) ([]foreignKey, error) {
	var keys []foreignKey
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		var key crypto.PublicKey
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = c.PublicKey
			}
		default:
			return nil, fmt.Errorf("a PEM block %q, expected PUBLIC KEY or CERTIFICATE", block.Type)
		}
		if err != nil {
			return nil, err
		}
		k, err := newForeignKey(block.Headers["kid"], key)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("no PEM block with a public key in it")
	}
	return keys, nil
}

// newForeignKey finds the algorithm of a key.
func newForeignKey(id string, key crypto.PublicKey) (foreignKey, error) {
	k := foreignKey{id: id, key: key}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < rsaBitsMin {
			return k, fmt.Errorf("an RSA key of %d bits, expected at least %d", key.N.BitLen(), rsaBitsMin)
		}
		k.alg = "RS256"
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return k, fmt.Errorf("an EC key on %s, expected P-256", key.Curve.Params().Name)
		}
		k.alg = "ES256"
	case ed25519.PublicKey:
		k.alg = "EdDSA"
	default:
		return k, fmt.Errorf("a key of type %T, expected RSA, EC P-256 or Ed25519", key)
	}
	return k, nil
}

// look fetches keys that are old; whoever comes meanwhile goes on with them.
func (k *foreignKeys) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.fetched) > 0 && time.Since(k.at) >= jwksAge && k.fetching == nil && time.Since(k.tried) >= jwksPause {
		k.refresh()
	}
}

// find are the keys that a token may be signed with.
func (k *foreignKeys) find(kid, alg string) ([]foreignKey, error) {
	if found := matching(k.fixed, kid, alg); len(found) > 0 || k.jwks == "" {
		return found, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	found := matching(k.fetched, kid, alg)
	switch {
	case len(found) > 0:
		return found, nil
	case k.fetching != nil:
		running := k.fetching
		k.mu.Unlock()
		<-running
		k.mu.Lock()
	case time.Since(k.tried) >= jwksPause:
		k.refresh()
	}
	if len(k.fetched) == 0 {
		return nil, k.fault
	}
	return matching(k.fetched, kid, alg), nil
}

// refresh fetches the keys. mu is held before and after, not meanwhile.
func (k *foreignKeys) refresh() {
	done := make(chan struct{})
	k.fetching, k.tried = done, time.Now()
	k.mu.Unlock()
	body, err := k.fetch()
	var keys []foreignKey
	if err == nil {
		keys, err = readJWKS(body)
	}
	k.mu.Lock()
	if k.fault = err; err == nil {
		sum := sha256.Sum256(body)
		other := sum != k.sum && len(k.fetched) > 0
		if k.fetched, k.sum, k.at = keys, sum, k.tried; other {
			k.changed()
		}
	}
	k.fetching = nil
	close(done)
}

// matching are the keys for a kid and an algorithm. A token without a kid, and a key
// without one, match each other and everybody.
func matching(keys []foreignKey, kid, alg string) []foreignKey {
	var found []foreignKey
	for _, k := range keys {
		if k.alg == alg && (kid == "" || k.id == "" || k.id == kid) {
			found = append(found, k)
		}
	}
	return found
}

// fetch reads what the JWKS address gives.
func (k *foreignKeys) fetch() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), jwksTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.jwks, nil)
	if err != nil {
		return nil, err
	}
	answer, err := k.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetch the keys of tokens: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, jwksBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("fetch the keys of tokens: %w", err)
	}
	if answer.StatusCode != http.StatusOK || len(body) > jwksBytesMax {
		return nil, fmt.Errorf("fetch the keys of tokens: status %d, %d bytes (at most %d)", answer.StatusCode, len(body), jwksBytesMax)
	}
	return body, nil
}

// readJWKS reads a JSON Web Key Set (RFC 7517). A key that this server has no use for is
// left out.
func readJWKS(body []byte) ([]foreignKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("the keys of tokens are not a JSON Web Key Set: %w", err)
	}
	var keys []foreignKey
	for _, raw := range set.Keys {
		jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipX5UScheme: true})
		if err != nil || len(keys) == foreignKeysMax {
			continue
		}
		m := jwk.Marshal()
		if m.USE != "" && !strings.EqualFold(m.USE.String(), "sig") {
			continue
		}
		f, err := newForeignKey(m.KID, jwk.Key())
		if err == nil && (m.ALG == "" || m.ALG.String() == f.alg) {
			keys = append(keys, f)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of the %d keys of the JSON Web Key Set is RS256, ES256 or EdDSA for signatures", len(set.Keys))
	}
	return keys, nil
}
