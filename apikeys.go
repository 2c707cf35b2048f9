package kalamdb

import (
	"context"
	"slices"
	"strings"
	"time"

	"kalamdb/auth"
	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/sql"
)

// API keys: tokens for services, revocable at once.
//
// A key acts for its user, with its own role or that of the user's row in system.users if
// that is less: a key never does more than it was made for. It ends when it is dropped,
// when it expires, and for ever when its user is dropped. Whoever holds a connection with
// it is cut off then, as Identify is asked again (OnUsersChanged).

const (
	apiKeyTTLMin = time.Minute
	apiKeyTTLMax = 10 * 365 * 24 * time.Hour
)

// apiKeyOptions of CREATE API KEY.
var apiKeyOptions = []string{"role", "ttl"}

// APIKey is the principal that a key names, for Identify.
func (db *DB) APIKey(key string) (auth.Principal, error) {
	id, _ := auth.APIKeyID(key)
	k, ok := db.catalog.APIKey(id)
	if !ok || !k.Hash.Of(key) {
		return auth.Principal{}, fail(CodeUnauthenticated, "the API key is not valid").details("it was revoked, or is not one of this server")
	}
	if !k.Expires.IsZero() && !time.Now().Before(k.Expires) {
		return auth.Principal{}, fail(CodeUnauthenticated, "the API key is not valid").details("it has expired")
	}
	return auth.Principal{User: k.User, Role: k.Role, Expires: k.Expires, Issued: k.Created, Key: k.ID}, nil
}

// identifyKey is Identify for one who came with an API key.
func (db *DB) identifyKey(p auth.Principal) (auth.Principal, error) {
	k, ok := db.catalog.APIKey(p.Key)
	if !ok {
		return auth.Principal{}, fail(CodeUnauthenticated, "the API key is not valid").details("it was revoked")
	}
	p.Role = min(k.Role, db.roleOf(k.User, k.Role))
	return p, nil
}

// createAPIKey runs CREATE API KEY. Its answer is the only one that ever has the key.
func (db *DB) createAPIKey(ctx context.Context, s *statement, st *sql.CreateAPIKey) (Result, error) {
	id, key, hash := auth.NewAPIKey()
	k := catalog.APIKey{ID: id, Name: st.Name, User: row.UserID(st.User), Role: auth.Service, Hash: hash, CreatedBy: s.req.As.User,
		Created: time.Now().UTC().Truncate(time.Microsecond)}
	if err := setAPIKeyOptions(&k, st.Options); err != nil {
		return Result{}, asError(err).at(st.Start())
	}
	if err := db.mayChangeUser(s, k.User, k.Role); err != nil {
		return Result{}, asError(err).at(st.Pos)
	}
	if err := db.record(s, s.Verb(), k.User); err != nil {
		return Result{}, err
	}
	if err := db.catalog.CreateAPIKey(ctx, k); err != nil {
		return Result{}, invalidUser(err, st.NamePos)
	}
	return Result{
		Columns: []Column{{"key_id", "VARCHAR"}, {"user_id", "VARCHAR"}, {"role", "VARCHAR"}, {"expires_at", "TIMESTAMP"}, {"api_key", "VARCHAR"}},
		Rows:    [][]row.Value{{text(id), text(st.User), text(k.Role.String()), moment(k.Expires), text(key)}},
	}, nil
}

func setAPIKeyOptions(k *catalog.APIKey, options map[string]string) error {
	for name, value := range options {
		switch name {
		case "role":
			role, err := auth.ParseRole(value)
			if err != nil {
				return fail(CodeInvalidValue, "role %q is unknown, expected user, service, dba or system", value)
			}
			k.Role = role
		case "ttl":
			ttl, err := sql.Duration(value)
			if err != nil || ttl < apiKeyTTLMin || ttl > apiKeyTTLMax {
				return fail(CodeInvalidValue, "ttl %q, expected a time like '90d', at least 1 minute and at most 10 years", value)
			}
			k.Expires = k.Created.Add(ttl)
		default:
			nearest, _ := sql.Nearest(name, apiKeyOptions)
			return fail(CodeInvalidDefinition, "an API key has no option %s, expected %s", name, strings.Join(apiKeyOptions, " or ")).details(didYouMean(nearest))
		}
	}
	return nil
}

// dropAPIKey runs DROP API KEY.
func (db *DB) dropAPIKey(ctx context.Context, s *statement, st *sql.DropAPIKey) error {
	k, ok := db.catalog.APIKey(st.ID)
	if !ok {
		if st.IfExists {
			return nil
		}
		return fail(CodeNotFound, "there is no API key with that id").details("system.api_keys lists them; the id is the part of a key between kalam_ and the next _").at(st.Pos)
	}
	if err := db.mayChangeUser(s, k.User, k.Role); err != nil {
		return asError(err).at(st.Pos)
	}
	if err := db.record(s, s.Verb(), k.User); err != nil {
		return err
	}
	return retryConflicts(func() error { return db.catalog.DropAPIKeys(ctx, k.ID) })
}

// dropUsers deletes users, and then their API keys, which are worth nothing without them.
func (db *DB) dropUsers(ctx context.Context, users []catalog.UserRow) error {
	if err := db.catalog.DropUsers(ctx, users); err != nil {
		return err
	}
	var keys []string
	for _, k := range db.catalog.APIKeys() {
		if slices.ContainsFunc(users, func(u catalog.UserRow) bool { return u.ID == k.User }) {
			keys = append(keys, k.ID)
		}
	}
	if err := db.catalog.DropAPIKeys(ctx, keys...); err != nil {
		db.log.Warn("API keys of users who were dropped are still listed; they are worth nothing", "keys", len(keys), "err", err)
	}
	return nil
}

// apiKeyRows are the rows of system.api_keys.
func apiKeyRows(db *DB, _ auth.Principal, add func(...row.Value)) {
	for _, k := range db.catalog.APIKeys() {
		add(text(k.ID), text(k.Name), text(string(k.User)), text(k.Role.String()), text(string(k.CreatedBy)), moment(k.Created), moment(k.Expires))
	}
}
