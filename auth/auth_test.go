package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"kalamdb/row"
)

var testSecret = []byte("0123456789abcdef0123456789abcdef")

func newVerifier(t testing.TB, o Options) *Verifier {
	t.Helper()
	o.Secret = testSecret
	v, err := NewVerifier(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// token is a token made by hand: header and claims are JSON text, so that tests can
// write what no library would.
func token(header, claims string, secret []byte) string {
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(header)) + "." + enc([]byte(claims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + enc(mac.Sum(nil))
}

const hs256 = `{"alg":"HS256","typ":"JWT"}`

func TestSignedTokenIsAccepted(t *testing.T) {
	v := newVerifier(t, Options{})
	for _, role := range []Role{User, Service, DBA, System} {
		text, err := Sign(testSecret, Principal{User: "ana", Role: role}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time from the cache
			p, err := v.Verify(text)
			if err != nil {
				t.Fatal(err)
			}
			if p.User != "ana" || p.Role != role {
				t.Errorf("%v: got %v", role, p)
			}
			if left := time.Until(p.Expires); left < 59*time.Minute || left > time.Hour {
				t.Errorf("expires in %v", left)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	now := time.Now().Unix()
	exp := fmt.Sprintf(`"exp":%d`, now+3600)
	strict := Options{Issuer: "idp", Audience: "kalam"}
	for _, c := range []struct {
		name   string
		opts   Options
		token  string
		user   row.UserID // the expected principal, or
		role   Role
		refuse string // a part of the error
	}{
		{name: "user_id before sub", token: token(hs256, `{"user_id":"ana","sub":"ben",`+exp+`}`, testSecret), user: "ana"},
		{name: "sub alone", token: token(hs256, `{"sub":"ben","role":"dba",`+exp+`}`, testSecret), user: "ben", role: DBA},
		{name: "null user_id", token: token(hs256, `{"user_id":null,"sub":"ben","role":null,`+exp+`}`, testSecret), user: "ben"},
		{name: "other case is another claim", token: token(hs256, `{"sub":"ben","USER_ID":"ana","Role":"dba",`+exp+`}`, testSecret), user: "ben"},
		{name: "within the leeway", token: token(hs256, fmt.Sprintf(`{"sub":"ben","exp":%d}`, now-20), testSecret), user: "ben"},
		{name: "soon valid", token: token(hs256, fmt.Sprintf(`{"sub":"ben","nbf":%d,%s}`, now+20, exp), testSecret), user: "ben"},
		{name: "issuer and audience", opts: strict, token: token(hs256, `{"sub":"ben","iss":"idp","aud":["x","kalam"],`+exp+`}`, testSecret), user: "ben"},
		{name: "unicode user", token: token(hs256, `{"sub":"Zoë 日本",`+exp+`}`, testSecret), user: "Zoë 日本"},

		{name: "empty", token: "", refuse: "empty"},
		{name: "not a JWT", token: "hello", refuse: "not a JWT"},
		{name: "broken base64", token: "a.b!.c", refuse: "not a JWT"},
		{name: "too long", token: strings.Repeat("a", tokenBytesMax+1), refuse: "8193 bytes"},
		{name: "expired", token: token(hs256, fmt.Sprintf(`{"sub":"ben","exp":%d}`, now-40), testSecret), refuse: "expired"},
		{name: "never expires", token: token(hs256, `{"sub":"ben"}`, testSecret), refuse: "exp is missing"},
		{name: "exp null", token: token(hs256, `{"sub":"ben","exp":null}`, testSecret), refuse: "claims are not understood"},
		{name: "exp zero", token: token(hs256, `{"sub":"ben","exp":0}`, testSecret), refuse: "exp is missing"},
		{name: "exp text", token: token(hs256, `{"sub":"ben","exp":"tomorrow"}`, testSecret), refuse: "claims are not understood"},
		{name: "exp beyond all numbers", token: token(hs256, `{"sub":"ben","exp":1e300}`, testSecret), refuse: "expired"},
		{name: "not valid yet", token: token(hs256, fmt.Sprintf(`{"sub":"ben","nbf":%d,%s}`, now+60, exp), testSecret), refuse: "not valid yet"},
		{name: "another secret", token: token(hs256, `{"sub":"ben",`+exp+`}`, bytes.Repeat([]byte("x"), 32)), refuse: "signature"},
		{name: "expired and another secret says nothing of the time", token: token(hs256, `{"sub":"ben","exp":1}`, bytes.Repeat([]byte("x"), 32)), refuse: "signature"},
		{name: "alg none", token: token(`{"alg":"none"}`, `{"sub":"ben",`+exp+`}`, testSecret), refuse: "signature"},
		{name: "alg HS512", token: token(`{"alg":"HS512"}`, `{"sub":"ben",`+exp+`}`, testSecret), refuse: "signature"},
		{name: "alg RS256", token: token(`{"alg":"RS256"}`, `{"sub":"ben",`+exp+`}`, testSecret), refuse: "signature"},
		{name: "critical header", token: token(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"sub":"ben",`+exp+`}`, testSecret), refuse: "header"},
		{name: "no user", token: token(hs256, `{`+exp+`}`, testSecret), refuse: "names no user"},
		{name: "empty user_id does not fall back", token: token(hs256, `{"user_id":"","sub":"ben",`+exp+`}`, testSecret), refuse: "user_id: invalid user id"},
		{name: "path as user", token: token(hs256, `{"user_id":"../ana",`+exp+`}`, testSecret), refuse: "U+002F"},
		{name: "dots as user", token: token(hs256, `{"sub":"..",`+exp+`}`, testSecret), refuse: "path"},
		{name: "number as user", token: token(hs256, `{"user_id":7,"sub":"ben",`+exp+`}`, testSecret), refuse: "not a string"},
		{name: "unknown role", token: token(hs256, `{"sub":"ben","role":"root",`+exp+`}`, testSecret), refuse: "unknown role"},
		{name: "role list", token: token(hs256, `{"sub":"ben","role":["dba"],`+exp+`}`, testSecret), refuse: "not a string"},
		{name: "wrong issuer", opts: strict, token: token(hs256, `{"sub":"ben","iss":"evil","aud":"kalam",`+exp+`}`, testSecret), refuse: "iss"},
		{name: "wrong audience", opts: strict, token: token(hs256, `{"sub":"ben","iss":"idp","aud":"other",`+exp+`}`, testSecret), refuse: "aud"},
		{name: "no issuer", opts: strict, token: token(hs256, `{"sub":"ben","aud":"kalam",`+exp+`}`, testSecret), refuse: "iss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVerifier(t, c.opts)
			for range 2 {
				p, err := v.Verify(c.token)
				if c.refuse == "" {
					if err != nil || p.User != c.user || p.Role != c.role {
						t.Fatalf("got %v, %v", p, err)
					}
					continue
				}
				if !errors.Is(err, ErrToken) || !strings.Contains(err.Error(), c.refuse) {
					t.Fatalf("got %v, %v", p, err)
				}
				if p != (Principal{}) {
					t.Errorf("a refused token gave %v", p)
				}
				for _, secret := range []string{"evil", "other", "0123456789abcdef"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("the error tells %q: %v", secret, err)
					}
				}
			}
		})
	}
}

func TestIssued(t *testing.T) {
	v := newVerifier(t, Options{})
	before := time.Now().Truncate(time.Millisecond)
	text, err := Sign(testSecret, Principal{User: "ana"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from the cache
		p, err := v.Verify(text)
		if err != nil || p.Issued.Before(before) || p.Issued.After(time.Now()) {
			t.Errorf("issued %v after %v, %v", p.Issued, before, err)
		}
	}
	exp := fmt.Sprintf(`"exp":%d`, time.Now().Add(time.Hour).Unix())
	for claim, want := range map[string]time.Time{
		``: {}, `"iat":null,`: {}, `"iat":-5,`: {}, `"iat":1e300,`: {},
		`"iat":1700000000,`: time.Unix(1700000000, 0), `"iat":1700000000.25,`: time.UnixMilli(1700000000250),
	} {
		p, err := v.Verify(token(hs256, `{"sub":"ben",`+claim+exp+`}`, testSecret))
		if err == nil && !p.Issued.Equal(want) {
			t.Errorf("%q: issued %v, expected %v", claim, p.Issued, want)
		}
		if err != nil && want != (time.Time{}) {
			t.Errorf("%q: %v", claim, err)
		}
	}
}

func TestCachedTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, Options{})
		text, err := Sign(testSecret, Principal{User: "ana"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			wait time.Duration
			ok   bool
		}{{0, true}, {time.Minute, true}, {29 * time.Second, true}, {time.Second, false}, {time.Hour, false}} {
			time.Sleep(step.wait)
			if _, err := v.Verify(text); (err == nil) != step.ok {
				t.Errorf("%v later: %v", step.wait, err)
			}
		}
	})
}

func TestCacheIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	c := newCache(100)
	hot := sha256.Sum256([]byte("hot"))
	c.put(hot, Principal{User: "hot"})
	for i := range 10_000 {
		c.put(sha256.Sum256(fmt.Append(nil, i)), Principal{})
		if n := len(c.young) + len(c.old); n > 100 {
			t.Fatalf("%d entries", n)
		}
		if p, ok := c.get(hot); !ok || p.User != "hot" {
			t.Fatalf("the hot token is gone after %d others", i)
		}
	}
	if _, ok := c.get(sha256.Sum256([]byte("0"))); ok {
		t.Error("the oldest token is still there")
	}
}

func TestVerifyConcurrently(t *testing.T) {
	v := newVerifier(t, Options{})
	v.cache.Store(newCache(8))
	var tokens []string
	for i := range 32 {
		text, err := Sign(testSecret, Principal{User: row.UserID(fmt.Sprint("u", i))}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, text)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 500 {
				i := n * 7 % len(tokens)
				if p, err := v.Verify(tokens[i]); err != nil || p.User != row.UserID(fmt.Sprint("u", i)) {
					t.Errorf("token %d: %v, %v", i, p, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	var wg sync.WaitGroup
	got := make([][]byte, 8)
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = LoadOrCreateSecret(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range got {
		if len(s) != 64 || !bytes.Equal(s, got[0]) {
			t.Fatalf("secrets %s and %s", s, got[0])
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".secret-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, c := range []struct {
		text   string
		mode   os.FileMode
		refuse string
	}{
		{"short\n", 0o600, "5 bytes"},
		{string(testSecret), 0o604, "chmod 600"},
		{strings.Repeat("x", secretBytesMax+1), 0o600, "4097 bytes"},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateSecret(path); err == nil || !strings.Contains(err.Error(), c.refuse) {
			t.Errorf("expected %q, got %v", c.refuse, err)
		}
	}
	if _, err := LoadOrCreateSecret(filepath.Join(t.TempDir(), "none", "secret")); err == nil {
		t.Error("a secret in a folder that does not exist")
	}
}

func TestSignRefuses(t *testing.T) {
	for _, c := range []struct {
		secret []byte
		user   row.UserID
		ttl    time.Duration
	}{{testSecret[:31], "ana", time.Hour}, {testSecret, "", time.Hour}, {testSecret, "a/b", time.Hour}, {testSecret, "ana", 0}} {
		if _, err := Sign(c.secret, Principal{User: c.user}, c.ttl); err == nil {
			t.Errorf("signed for %q, %v, %d bytes of secret", c.user, c.ttl, len(c.secret))
		}
	}
	if _, err := NewVerifier(Options{Secret: []byte("short")}); err == nil {
		t.Error("a verifier with a short secret")
	}
}

func TestRoles(t *testing.T) {
	for _, r := range []Role{User, Service, DBA, System} {
		if got, err := ParseRole(r.String()); err != nil || got != r {
			t.Errorf("%v: %v, %v", r, got, err)
		}
	}
	if !(User < Service && Service < DBA && DBA < System) {
		t.Error("roles are not ordered")
	}
	for _, s := range []string{"", "DBA", "role(4)"} {
		if r, err := ParseRole(s); err == nil {
			t.Errorf("%q is role %v", s, r)
		}
	}
}

func FuzzVerify(f *testing.F) {
	v, err := NewVerifier(Options{Secret: testSecret})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"sub":"ben","exp":99999999999}`)
	f.Add(`{"user_id":{"a":1},"exp":99999999999}`)
	f.Add(`{"exp":-1e400}`)
	f.Fuzz(func(t *testing.T, claims string) {
		p, err := v.Verify(token(hs256, claims, testSecret))
		if err != nil {
			if !errors.Is(err, ErrToken) {
				t.Errorf("%v does not wrap ErrToken", err)
			}
			return
		}
		if _, err := row.ParseUserID(string(p.User)); err != nil || !time.Now().Before(p.Expires.Add(leeway)) {
			t.Errorf("accepted %v", p)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, Options{})
	text, err := Sign(testSecret, Principal{User: "ana"}, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("hot", func(b *testing.B) {
		for b.Loop() {
			if _, err := v.Verify(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			if _, err := v.check(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jwt alone", func(b *testing.B) {
		for b.Loop() {
			if _, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return testSecret, nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
