package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
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
	userNameBytesMax     = 256
	userMetadataBytesMax = 16 << 10
	userShardBytesMax    = 16 << 20 // one document: some 100,000 users
)

// A UserRow is a row of system.users. It overrides the role that a token claims.
type UserRow struct {
	ID               row.UserID
	Name             string // for people, may be empty
	Role             auth.Role
	Metadata         string // JSON text, may be empty
	Created, Updated time.Time
}

// A userShard is a part of all users: those whose ids hash to its number. It never
// changes once it is published.
//
// Users are kept in shards and not one by one because there may be 100,000 of them: a
// start reads at most userShards documents, and a change writes one small document.
type userShard struct {
	users map[row.UserID]*UserRow
	// deleted says when a user was deleted, for ever: his tokens from before must stay
	// invalid, also when he has been created again.
	deleted map[row.UserID]time.Time
}

const userShards = 256

// shardOf is the number of the shard that id belongs to.
func shardOf(id row.UserID) uint8 {
	h := fnv.New32a()
	h.Write([]byte(id)) // never fails
	s := h.Sum32()
	return uint8(s ^ s>>8 ^ s>>16 ^ s>>24)
}

func (u *UserRow) valid() error {
	if _, err := row.ParseUserID(string(u.ID)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	switch {
	case len(u.Name) > userNameBytesMax || !utf8.ValidString(u.Name) || strings.ContainsFunc(u.Name, unicode.IsControl):
		return fmt.Errorf("%w: the username of %s, expected at most %d bytes of UTF-8 without control characters", ErrInvalid, u.ID, userNameBytesMax)
	case len(u.Metadata) > userMetadataBytesMax:
		return fmt.Errorf("%w: the metadata of %s has %d bytes, expected at most %d", ErrInvalid, u.ID, len(u.Metadata), userMetadataBytesMax)
	case u.Metadata != "" && !json.Valid([]byte(u.Metadata)):
		return fmt.Errorf("%w: the metadata of %s is not JSON", ErrInvalid, u.ID)
	case u.Role > auth.System:
		return fmt.Errorf("%w: the role of %s is %s", ErrInvalid, u.ID, u.Role)
	}
	return nil
}

// A UserList is the users of one moment.
type UserList struct{ s *state }

// Find is the row of that user, if there is one.
func (l UserList) Find(id row.UserID) (*UserRow, bool) {
	s := l.s.users[shardOf(id)]
	if s == nil {
		return nil, false
	}
	u, ok := s.users[id]
	return u, ok
}

// All are the users by id. Callers share the list: nobody changes it.
func (l UserList) All() []*UserRow { return l.s.sortedUsers() }

// Users are the users there are now.
func (c *Catalog) Users() UserList { return UserList{c.state.Load()} }

// User is the row of that user, if there is one.
func (c *Catalog) User(id row.UserID) (*UserRow, bool) { return c.Users().Find(id) }

// UserDeleted says when the user was deleted last; the zero time if never.
func (c *Catalog) UserDeleted(id row.UserID) time.Time {
	s := c.state.Load().users[shardOf(id)]
	if s == nil {
		return time.Time{}
	}
	return s.deleted[id]
}

// sortUsers makes the list of all users. They and their texts are copied in their order,
// because whoever walks over 100,000 of them pays for each jump in memory.
func (s *state) sortUsers() []*UserRow {
	var all []*UserRow
	for _, shard := range s.users {
		if shard != nil {
			all = slices.AppendSeq(all, maps.Values(shard.users))
		}
	}
	slices.SortFunc(all, func(a, b *UserRow) int { return strings.Compare(string(a.ID), string(b.ID)) })
	bytes := 0
	for _, u := range all {
		bytes += len(u.ID) + len(u.Name) + len(u.Metadata)
	}
	var texts strings.Builder
	texts.Grow(bytes)
	copied := func(s string) string {
		from := texts.Len()
		texts.WriteString(s)
		return texts.String()[from:]
	}
	rows := make([]UserRow, len(all))
	for i, u := range all {
		rows[i] = *u
		rows[i].ID, rows[i].Name, rows[i].Metadata = row.UserID(copied(string(u.ID))), copied(u.Name), copied(u.Metadata)
		all[i] = &rows[i]
	}
	return all
}

// OnUsers has f called after every change of users or API keys, before the change is answered. f
// must not block and must not change the catalog. Call it before the first change.
func (c *Catalog) OnUsers(f func()) { c.onUsers = f }

// CreateUsers makes users that do not exist yet, else it is ErrExists and none is made.
// Created and Updated are those of now.
func (c *Catalog) CreateUsers(ctx context.Context, users []UserRow) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	changed := make(map[row.UserID]*UserRow, len(users))
	for _, u := range users {
		if changed[u.ID] != nil {
			return fmt.Errorf("user %s %w: the statement names him twice", u.ID, ErrExists)
		}
		u.Created, u.Updated = now, now
		changed[u.ID] = &u
	}
	return c.changeUsers(ctx, changed, now, func(id row.UserID, old *UserRow) error {
		if old != nil {
			return fmt.Errorf("user %s %w", id, ErrExists)
		}
		return nil
	})
}

// UpdateUsers gives users new values. Each must still have the Updated that it has in
// users, else it is ErrConflict and none is changed; then it becomes now.
func (c *Catalog) UpdateUsers(ctx context.Context, users []UserRow) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	seen := make(map[row.UserID]time.Time, len(users))
	changed := make(map[row.UserID]*UserRow, len(users))
	for _, u := range users {
		seen[u.ID] = u.Updated
		u.Updated = now
		if !now.After(seen[u.ID]) {
			u.Updated = seen[u.ID].Add(time.Microsecond) // so that it tells versions apart
		}
		changed[u.ID] = &u
	}
	return c.changeUsers(ctx, changed, now, func(id row.UserID, old *UserRow) error {
		return unchanged(id, old, seen[id])
	})
}

func unchanged(id row.UserID, now *UserRow, updated time.Time) error {
	if now == nil || !now.Updated.Equal(updated) {
		return fmt.Errorf("user %s was changed meanwhile: %w", id, ErrConflict)
	}
	return nil
}

// DropUsers deletes users. Each must still have the Updated that it has in users, else it
// is ErrConflict and none is deleted.
func (c *Catalog) DropUsers(ctx context.Context, users []UserRow) error {
	changed := make(map[row.UserID]*UserRow, len(users))
	seen := make(map[row.UserID]time.Time, len(users))
	for _, u := range users {
		changed[u.ID], seen[u.ID] = nil, u.Updated
	}
	return c.changeUsers(ctx, changed, time.Now().UTC(), func(id row.UserID, old *UserRow) error {
		return unchanged(id, old, seen[id])
	})
}

// changeUsers puts the users of changed in the place of those there are, nil for one
// who goes. Nothing changes if check refuses one of them. Several shards are changed one after the
// other: an error of the storage may leave some changed.
func (c *Catalog) changeUsers(ctx context.Context, changed map[row.UserID]*UserRow, now time.Time, check func(row.UserID, *UserRow) error) error {
	for _, u := range changed {
		if u != nil {
			if err := u.valid(); err != nil {
				return err
			}
		}
	}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		old, _ := c.User(id)
		if err := check(id, old); err != nil {
			return err
		}
	}
	var parts [userShards][]row.UserID
	for id := range changed {
		parts[shardOf(id)] = append(parts[shardOf(id)], id)
	}
	var shards [userShards]*userShard
	for n, ids := range parts {
		if len(ids) == 0 {
			continue
		}
		shards[n] = c.state.Load().users[n].with(ids, changed, now)
		if bytes := shards[n].bytes(); bytes > userShardBytesMax {
			return fmt.Errorf("%w: too many users: those of one shard would have %d bytes, the limit is %d", ErrInvalid, bytes, userShardBytesMax)
		}
	}
	written := 0
	for n, shard := range shards {
		if shard == nil {
			continue
		}
		if err := c.write(ctx, usersDoc(uint8(n)), &document{Users: newUsersJSON(uint8(n), shard)}); err != nil {
			if written > 0 && !errors.Is(err, ErrUnknown) {
				err = fmt.Errorf("%d of %d users are changed, then: %w", written, len(changed), err)
			}
			return err
		}
		written += len(parts[n])
	}
	return nil
}

// with is a copy of s with the given users changed.
func (s *userShard) with(ids []row.UserID, changed map[row.UserID]*UserRow, now time.Time) *userShard {
	out := &userShard{users: map[row.UserID]*UserRow{}, deleted: map[row.UserID]time.Time{}}
	if s != nil {
		maps.Copy(out.users, s.users)
		maps.Copy(out.deleted, s.deleted)
	}
	for _, id := range ids {
		if u := changed[id]; u != nil {
			out.users[id] = u
		} else {
			delete(out.users, id)
			out.deleted[id] = now
		}
	}
	return out
}

// bytes is about how long the document of s is.
func (s *userShard) bytes() int {
	const frame = 160 // the names and the times of one user
	n := frame * (len(s.users) + len(s.deleted))
	for id, u := range s.users {
		n += len(id) + len(u.Name) + len(u.Metadata)
	}
	for id := range s.deleted {
		n += len(id)
	}
	return n
}
