package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// A provider is an identity provider with an address for its keys.
type provider struct {
	server *httptest.Server

	mu    sync.Mutex // guards the fields below
	keys  map[string]crypto.Signer
	asked int
	down  bool
}

func newProvider(t *testing.T) *provider {
	p := &provider{keys: map[string]crypto.Signer{}}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		if p.down {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		json.NewEncoder(w).Encode(p.set(t))
	}))
	t.Cleanup(p.server.Close)
	return p
}

func (p *provider) set(t *testing.T) any {
	var list []jwkset.JWKMarshal
	for id, key := range p.keys {
		jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id, USE: jwkset.UseSig}})
		if err != nil {
			t.Error(err)
		}
		list = append(list, jwk.Marshal())
	}
	list = append(list, jwkset.JWKMarshal{KTY: "oct", KID: "shared", K: "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"})
	return map[string]any{"keys": list}
}

func (p *provider) add(id string, key crypto.Signer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[id] = key
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// newKeys are one key for each algorithm.
func newKeys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, d, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"RS256": r, "ES256": e, "EdDSA": d}
}

func foreignToken(t *testing.T, alg, kid string, key crypto.Signer, claims jwt.MapClaims) string {
	t.Helper()
	all := jwt.MapClaims{"sub": "ana", "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range claims {
		all[name] = v
	}
	tok := jwt.NewWithClaims(jwt.GetSigningMethod(alg), all)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	text, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestForeignTokens(t *testing.T) {
	p := newProvider(t)
	keys := newKeys(t)
	for alg, key := range keys {
		p.add("k-"+alg, key)
	}
	v := newVerifier(t, Options{JWKS: p.server.URL, Issuer: "https://idp.example", Audience: "kalam", RoleClaim: "app.role", Roles: map[string]Role{"admin": DBA, "worker": Service}})
	for alg, key := range keys {
		good := jwt.MapClaims{"iss": "https://idp.example", "aud": []string{"other", "kalam"}, "app": map[string]any{"role": "admin"}, "role": "system"}
		for _, kid := range []string{"k-" + alg, ""} {
			got, err := v.Verify(foreignToken(t, alg, kid, key, good))
			if err != nil || got.User != "ana" || got.Role != DBA {
				t.Errorf("%s, kid %q: %+v, %v", alg, kid, got, err)
			}
		}
		for name, change := range map[string]jwt.MapClaims{
			"iss": {"iss": "https://evil.example"}, "aud": {"aud": "other"}, "not a string": {"app": map[string]any{"role": 7}},
			"expired": {"exp": time.Now().Add(-time.Minute).Unix()}, "not valid yet": {"nbf": time.Now().Add(time.Hour).Unix()},
		} {
			claims := jwt.MapClaims{}
			for n, c := range good {
				claims[n] = c
			}
			for n, c := range change {
				claims[n] = c
			}
			if got, err := v.Verify(foreignToken(t, alg, "k-"+alg, key, claims)); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, wrong %s: %+v, %v", alg, name, got, err)
			}
		}
		unknown := jwt.MapClaims{"iss": "https://idp.example", "aud": "kalam", "app": map[string]any{"role": "system"}}
		if got, err := v.Verify(foreignToken(t, alg, "k-"+alg, key, unknown)); err != nil || got.Role != User {
			t.Errorf("%s, a role that is not mapped: %+v, %v, expected the role user", alg, got, err)
		}
		stranger := newKeys(t)[alg]
		if got, err := v.Verify(foreignToken(t, alg, "k-"+alg, stranger, good)); err == nil {
			t.Errorf("%s: a stranger's key is accepted: %+v", alg, got)
		}
	}
	// What the server signs for itself says iss kalamdb, whatever the provider is called.
	own, err := Sign(testSecret, Principal{User: "root", Role: DBA}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Verify(own); err != nil || got.Role != DBA {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := v.Verify(foreignToken(t, "RS256", "k-RS256", keys["RS256"], jwt.MapClaims{"iss": ownIssuer, "aud": "kalam"})); err == nil {
		t.Errorf("a provider's token that says it is ours: %+v", got)
	}
}

// A public key is known to everybody. Whoever signs HS256 with it, or the shared key of a
// JWKS, or nothing at all, gets nowhere.
func TestAlgorithmConfusion(t *testing.T) {
	p := newProvider(t)
	keys := newKeys(t)
	p.add("k", keys["RS256"])
	der, err := x509.MarshalPKIXPublicKey(keys["RS256"].Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	path := filepath.Join(t.TempDir(), "idp.pem")
	if err := os.WriteFile(path, public, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{"jwks": {JWKS: p.server.URL}, "pem": {PEMFile: path}} {
		v := newVerifier(t, o)
		if _, err := v.Verify(foreignToken(t, "RS256", "k", keys["RS256"], nil)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		claims := `{"sub":"eve","role":"system","exp":99999999999}`
		for what, text := range map[string]string{
			"the PEM as secret":  token(`{"alg":"HS256","kid":"k"}`, claims, public),
			"the DER as secret":  token(`{"alg":"HS256","kid":"k"}`, claims, der),
			"the oct key":        token(`{"alg":"HS256","kid":"shared"}`, claims, []byte("secretsecretsecretsecretsecretsecret")),
			"none":               token(`{"alg":"none","kid":"k"}`, claims, nil),
			"RS512":              foreignToken(t, "RS512", "k", keys["RS256"], nil),
			"PS256":              foreignToken(t, "PS256", "k", keys["RS256"], nil),
			"ES256 with its kid": foreignToken(t, "ES256", "k", keys["ES256"], nil),
		} {
			if got, err := v.Verify(text); err == nil {
				t.Errorf("%s: %s is accepted: %+v", name, what, got)
			}
		}
	}
}

// A new key of the provider is found by its kid, an old one ends, and tokens with invented
// kids do not ask the provider again and again.
func TestForeignKeysRotate(t *testing.T) {
	p := newProvider(t)
	first, second := newKeys(t)["ES256"], newKeys(t)["ES256"]
	p.add("1", first)
	v := newVerifier(t, Options{JWKS: p.server.URL})
	old := foreignToken(t, "ES256", "1", first, nil)
	if _, err := v.Verify(old); err != nil {
		t.Fatal(err)
	}
	later := func(d time.Duration) { // as if all fetches had been d earlier
		v.foreign.mu.Lock()
		defer v.foreign.mu.Unlock()
		v.foreign.at, v.foreign.tried = v.foreign.at.Add(-d), v.foreign.tried.Add(-d)
	}
	p.add("2", second)
	fresh := foreignToken(t, "ES256", "2", second, nil)
	for range 100 {
		if _, err := v.Verify(fresh); err == nil {
			t.Fatal("the keys were fetched again at once")
		}
	}
	if n := p.count(); n != 1 {
		t.Errorf("%d fetches, expected 1", n)
	}
	later(jwksPause)
	if _, err := v.Verify(fresh); err != nil || p.count() != 2 {
		t.Errorf("%v after %d fetches", err, p.count())
	}
	p.mu.Lock()
	delete(p.keys, "1")
	p.mu.Unlock()
	later(jwksAge)
	if _, err := v.Verify(old); err == nil || p.count() != 3 {
		t.Errorf("%v after %d fetches: the token of a key that is gone", err, p.count())
	}
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	later(jwksAge)
	if _, err := v.Verify(foreignToken(t, "ES256", "2", second, jwt.MapClaims{"sub": "ben"})); err != nil {
		t.Errorf("%v: keys are good while the provider does not answer", err)
	}
}

func TestForeignKeysOutOfReach(t *testing.T) {
	p := newProvider(t)
	p.down = true
	key := newKeys(t)["EdDSA"]
	p.add("1", key)
	v := newVerifier(t, Options{JWKS: p.server.URL})
	if _, err := v.Verify(foreignToken(t, "EdDSA", "1", key, nil)); err == nil || !strings.Contains(err.Error(), "cannot be read at the moment") || strings.Contains(err.Error(), "502") {
		t.Errorf("%v", err)
	}
	for _, o := range []Options{{JWKS: "http://idp.example/keys"}, {JWKS: "file:///etc/passwd"}, {JWKS: "keys"}, {PEMFile: "/nonexistent"}} {
		o.Secret = testSecret
		if _, err := NewVerifier(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		if _, err := newForeignKey("", weak.Public()); err == nil {
			t.Error("an RSA key of 1024 bits is accepted")
		}
	}
}

func TestSecretsRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	first, err := LoadOrCreateSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		v, err := NewVerifier(Options{SecretFile: path})
		if err != nil {
			t.Fatal(err)
		}
		sign := func(secret []byte) string {
			text, err := Sign(secret, Principal{User: "ana"}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		old := sign(first)
		check := func(what, text string, good bool) {
			t.Helper()
			if _, err := v.Verify(text); (err == nil) != good {
				t.Errorf("%s: %v, expected good: %t", what, err, good)
			}
		}
		check("the first key", old, true)
		if err := RotateSecret(path); err != nil {
			t.Fatal(err)
		}
		second, err := LoadOrCreateSecret(path)
		if err != nil || string(second) == string(first) {
			t.Fatalf("%v: the new key does not sign", err)
		}
		fresh := sign(second)
		time.Sleep(keysStale)
		check("the new key", fresh, true)
		check("the old key, rotated", old, true)
		check("a token with no kid", token(hs256, `{"sub":"ben","exp":99999999999}`, first), true)
		if n, err := RetireSecrets(path); err != nil || n != 1 {
			t.Fatalf("%d retired, %v", n, err)
		}
		time.Sleep(keysStale)
		check("the new key, alone", fresh, true)
		check("the old key, retired", old, false)
		if err := os.WriteFile(path, []byte("short\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keysStale)
		check("a broken file", fresh, true)
	})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
