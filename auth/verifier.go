package auth

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
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
	Secret           []byte // the HS256 key, at least 32 bytes
	Issuer, Audience string // what iss must be and aud must hold; not checked when empty
}

// A Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	secret []byte
	parser *jwt.Parser
	cache  *cache
}

// NewVerifier makes a Verifier.
func NewVerifier(o Options) (*Verifier, error) {
	if err := checkSecret(o.Secret); err != nil {
		return nil, err
	}
	opts := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(leeway),
	}
	if o.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(o.Issuer))
	}
	if o.Audience != "" {
		opts = append(opts, jwt.WithAudience(o.Audience))
	}
	return &Verifier{
		secret: append([]byte(nil), o.Secret...),
		parser: jwt.NewParser(opts...),
		cache:  newCache(cacheTokens),
	}, nil
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
	sum := sha256.Sum256([]byte(token))
	if p, ok := v.cache.get(sum); ok {
		if time.Now().Before(p.Expires.Add(leeway)) {
			return p, nil
		}
		return Principal{}, fmt.Errorf("%w: it has expired", ErrToken)
	}
	p, err := v.check(token)
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	v.cache.put(sum, p)
	return p, nil
}

// check verifies a token that is not in the cache.
func (v *Verifier) check(token string) (Principal, error) {
	t, err := v.parser.ParseWithClaims(token, jwt.MapClaims{}, func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok {
			return nil, errors.New("critical header extensions") // RFC 7515: refuse what is not understood
		}
		return v.secret, nil
	})
	if err != nil {
		return Principal{}, reason(err)
	}
	return principal(t.Claims.(jwt.MapClaims))
}

// principal reads the claims of a token whose signature and times are right.
func principal(claims jwt.MapClaims) (Principal, error) {
	name, role := claimUser, User
	if claims[name] == nil {
		name = claimSubject
	}
	id, ok := claims[name].(string)
	if !ok {
		if claims[name] == nil {
			return Principal{}, fmt.Errorf("it names no user, expected the claim %s or %s", claimUser, claimSubject)
		}
		return Principal{}, fmt.Errorf("the claim %s is not a string", name)
	}
	user, err := row.ParseUserID(id)
	if err != nil {
		return Principal{}, fmt.Errorf("the claim %s: %w", name, err)
	}
	if c := claims[claimRole]; c != nil {
		s, ok := c.(string)
		if !ok {
			return Principal{}, fmt.Errorf("the claim %s is not a string", claimRole)
		}
		if role, err = ParseRole(s); err != nil {
			return Principal{}, fmt.Errorf("the claim %s: %w", claimRole, err)
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
	{jwt.ErrTokenMalformed, "it is not a JWT"},
	{jwt.ErrTokenUnverifiable, "its header is not understood"},
	{jwt.ErrTokenSignatureInvalid, "its signature is not one of this server (HS256)"},
	{jwt.ErrTokenExpired, "it has expired"},
	{jwt.ErrTokenNotValidYet, "it is not valid yet"},
	{jwt.ErrTokenRequiredClaimMissing, "the claim exp is missing, or iss or aud where the server asks for them"},
	{jwt.ErrTokenInvalidIssuer, "the claim iss is not the one this server accepts"},
	{jwt.ErrTokenInvalidAudience, "the claim aud is not the one this server accepts"},
}

func reason(err error) error {
	for _, r := range reasons {
		if errors.Is(err, r.is) {
			return errors.New(r.say)
		}
	}
	return errors.New("its claims are not understood")
}
