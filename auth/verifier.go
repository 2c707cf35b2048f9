package auth

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"kalamdb/row"
)

const (
	tokenBytesMax = 8 << 10          // a longer token is refused unread
	leeway        = 30 * time.Second // how far clocks may differ
	cacheTokens   = 16_384           // verified tokens remembered, about 200 B each
)

// The claims we read. Their names are matched exactly: encoding/json would take
// User_ID for user_id.
const (
	claimUser    = "user_id"
	claimSubject = "sub"
	claimRole    = "role"
	claimIssued  = "iat"
)

// Options say which tokens a [Verifier] accepts.
type Options struct {
	Secret     []byte // the HS256 key, at least 32 bytes; or
	SecretFile string // a file of them, see [LoadSecrets], read again when it changes

	Issuer, Audience string // what iss must be and aud must hold; not checked when empty, nor in tokens of [Sign]

	JWKS    string // address of the keys of an identity provider: RS256, ES256, EdDSA
	PEMFile string // or a file with them

	// Of the tokens of that provider: the claim with the user id (default user_id, else
	// sub) and the one with the role (default role), both with dots for claims in claims.
	UserClaim, RoleClaim string
	// Roles are the provider's names of our roles. A name that is not there and is none of
	// ours means the role user.
	Roles map[string]Role
}

// ownIssuer is the iss of tokens that the server's secret signs for itself.
const ownIssuer = "kalamdb"

// A Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	o       Options
	own     *ownKeys
	foreign *foreignKeys
	parser  *jwt.Parser
	cache   atomic.Pointer[cache]
}

// NewVerifier makes a Verifier.
func NewVerifier(o Options) (*Verifier, error) {
	v := &Verifier{o: o}
	forget := func() { v.cache.Store(newCache(cacheTokens)) }
	forget()
	v.own = &ownKeys{path: o.SecretFile, keys: [][]byte{append([]byte(nil), o.Secret...)}, changed: forget}
	if o.SecretFile != "" {
		stamp, err := stampOf(o.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("read the secret: %w", err)
		}
		if v.own.keys, err = LoadSecrets(o.SecretFile); err != nil {
			return nil, err
		}
		v.own.stamp, v.own.looked = stamp, time.Now()
	} else if err := checkSecret(o.Secret); err != nil {
		return nil, err
	}
	methods := []string{jwt.SigningMethodHS256.Alg()}
	if o.JWKS != "" || o.PEMFile != "" {
		var err error
		if v.foreign, err = newForeignKeys(o, forget); err != nil {
			return nil, err
		}
		methods = append(methods, foreignAlgorithms...)
	}
	v.parser = jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway))
	return v, nil
}

// Verify says whom the token belongs to. Its error wraps [ErrToken] and is a
// sentence for the client.
func (v *Verifier) Verify(token string) (Principal, error) {
	switch {
	case token == "":
		return Principal{}, fmt.Errorf("%w: it is empty", ErrToken)
	case len(token) > tokenBytesMax:
		return Principal{}, fmt.Errorf("%w: %d bytes, expected at most %d", ErrToken, len(token), tokenBytesMax)
	}
	v.own.look()
	if v.foreign != nil {
		v.foreign.look()
	}
	sum := sha256.Sum256([]byte(token))
	cache := v.cache.Load() // of the keys as they are now
	if p, ok := cache.get(sum); ok {
		if time.Now().Before(p.Expires.Add(leeway)) {
			return p, nil
		}
		return Principal{}, fmt.Errorf("%w: it has expired", ErrToken)
	}
	p, err := v.check(token)
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	cache.put(sum, p)
	return p, nil
}

// check verifies a token that is not in the cache.
func (v *Verifier) check(token string) (Principal, error) {
	t, err := v.parser.ParseWithClaims(token, jwt.MapClaims{}, v.keyOf)
	if err != nil {
		return Principal{}, reason(err)
	}
	claims := t.Claims.(jwt.MapClaims)
	own := t.Method == jwt.SigningMethodHS256
	if err := v.checkOrigin(claims, own); err != nil {
		return Principal{}, err
	}
	if own {
		return principal(claims, "", claimRole, ParseRole)
	}
	return principal(claims, v.o.UserClaim, cmp.Or(v.o.RoleClaim, claimRole), v.foreignRole)
}

// errKeys says that the keys of the provider cannot be had.
var errKeys = errors.New("the keys of its issuer cannot be read at the moment")

// keyOf finds the key of a token. An algorithm belongs to a kind of key, and the kinds
// never mix: a public key is no HS256 secret.
func (v *Verifier) keyOf(t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("critical header extensions") // RFC 7515: refuse what is not understood
	}
	if t.Method == jwt.SigningMethodHS256 {
		return v.own.find(t)
	}
	kid, _ := t.Header["kid"].(string)
	found, err := v.foreign.find(kid, t.Method.Alg())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKeys, err)
	}
	var set jwt.VerificationKeySet
	for _, k := range found {
		set.Keys = append(set.Keys, k.key)
	}
	return set, nil
}

// checkOrigin checks iss and aud where they are configured.
func (v *Verifier) checkOrigin(claims jwt.MapClaims, own bool) error {
	issuer, _ := claims["iss"].(string)
	if own && issuer == ownIssuer {
		return nil // of Sign: made for this server and for nobody else
	}
	if v.o.Issuer != "" && issuer != v.o.Issuer {
		return errors.New("the claim iss is not the one this server accepts")
	}
	audience, err := claims.GetAudience()
	if v.o.Audience != "" && (err != nil || !slices.Contains(audience, v.o.Audience)) {
		return errors.New("the claim aud is not the one this server accepts")
	}
	return nil
}

// foreignRole is the role for a provider's name of one.
func (v *Verifier) foreignRole(name string) (Role, error) {
	if r, ok := v.o.Roles[name]; ok {
		return r, nil
	}
	if r, err := ParseRole(name); err == nil && len(v.o.Roles) == 0 {
		return r, nil
	}
	return User, nil
}

// lookup finds a claim by its name, with dots for claims in claims.
func lookup(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v // https://example.com/role is one name
	}
	first, rest, more := strings.Cut(name, ".")
	if inner, ok := claims[first].(map[string]any); ok && more {
		return lookup(inner, rest)
	}
	return nil
}

// principal reads the claims of a token whose signature and times are right.
func principal(claims jwt.MapClaims, userClaim, roleClaim string, parseRole func(string) (Role, error)) (Principal, error) {
	name, role := userClaim, User
	if name == "" {
		if name = claimUser; claims[name] == nil {
			name = claimSubject
		}
	}
	claim := lookup(claims, name)
	id, ok := claim.(string)
	if !ok {
		if claim == nil && userClaim == "" {
			return Principal{}, fmt.Errorf("it names no user, expected the claim %s or %s", claimUser, claimSubject)
		}
		return Principal{}, fmt.Errorf("the claim %s is not a string", name)
	}
	user, err := row.ParseUserID(id)
	if err != nil {
		return Principal{}, fmt.Errorf("the claim %s: %w", name, err)
	}
	if c := lookup(claims, roleClaim); c != nil {
		s, ok := c.(string)
		if !ok {
			return Principal{}, fmt.Errorf("the claim %s is not a string", roleClaim)
		}
		if role, err = parseRole(s); err != nil {
			return Principal{}, fmt.Errorf("the claim %s: %w", roleClaim, err)
		}
	}
	exp, err := claims.GetExpirationTime()
	if err != nil || exp == nil {
		return Principal{}, errors.New("the claim exp is missing or not a number")
	}
	p := Principal{User: user, Role: role, Expires: exp.Time}
	if at, ok := claims[claimIssued].(float64); ok && at > 0 && at < issuedMax {
		p.Issued = time.UnixMilli(int64(math.Round(at * 1000))) // the library would cut it to whole seconds
	}
	return p, nil
}

// issuedMax is a second that no honest token names: the year 9999.
const issuedMax = 253_402_300_800

// reasons are what a client may know about a token that was refused, in order of precedence.
var reasons = []struct {
	is  error
	say string
}{
	{errKeys, errKeys.Error()},
	{jwt.ErrTokenMalformed, "it is not a JWT"},
	{jwt.ErrTokenUnverifiable, "its header is not understood"},
	{jwt.ErrTokenSignatureInvalid, "its signature is not one that this server accepts"},
	{jwt.ErrTokenExpired, "it has expired"},
	{jwt.ErrTokenNotValidYet, "it is not valid yet"},
	{jwt.ErrTokenRequiredClaimMissing, "the claim exp is missing"},
}

func reason(err error) error {
	for _, r := range reasons {
		if errors.Is(err, r.is) {
			return errors.New(r.say)
		}
	}
	return errors.New("its claims are not understood")
}
