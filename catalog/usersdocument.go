package catalog

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"kalamdb/auth"
	"kalamdb/row"
)

// usersJSON is one shard of the users, in ascending order.
type usersJSON struct {
	Shard   string        `json:"shard"` // two hexadecimal digits
	Users   []userJSON    `json:"users,omitempty"`
	Deleted []deletedJSON `json:"deleted,omitempty"`
}

type userJSON struct {
	ID       string    `json:"id"`
	Name     string    `json:"username,omitempty"`
	Role     string    `json:"role"`
	Metadata string    `json:"metadata,omitempty"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
}

type deletedJSON struct {
	ID string    `json:"id"`
	At time.Time `json:"at"` // tokens issued before it are invalid
}

func usersDoc(shard uint8) string { return usersFolder + shardName(shard) + suffix }

func shardName(shard uint8) string { return fmt.Sprintf("%02x", shard) }

func newUsersJSON(number uint8, s *userShard) *usersJSON {
	j := &usersJSON{Shard: shardName(number)}
	for _, id := range slices.Sorted(maps.Keys(s.users)) {
		u := s.users[id]
		j.Users = append(j.Users, userJSON{string(id), u.Name, u.Role.String(), u.Metadata, u.Created, u.Updated})
	}
	for _, id := range slices.Sorted(maps.Keys(s.deleted)) {
		j.Deleted = append(j.Deleted, deletedJSON{string(id), s.deleted[id]})
	}
	return j
}

// shard decodes j and says which shard it is.
func (j *usersJSON) shard() (number uint8, s *userShard, err error) {
	if _, err := fmt.Sscanf(j.Shard, "%02x", &number); err != nil || shardName(number) != j.Shard {
		return 0, nil, fmt.Errorf("shard %q, expected two hexadecimal digits", j.Shard)
	}
	s = &userShard{users: make(map[row.UserID]*UserRow, len(j.Users)), deleted: make(map[row.UserID]time.Time, len(j.Deleted))}
	for _, uj := range j.Users {
		role, err := auth.ParseRole(uj.Role)
		if err != nil {
			return 0, nil, fmt.Errorf("user %s: %w", uj.ID, err)
		}
		u := &UserRow{row.UserID(uj.ID), uj.Name, role, uj.Metadata, uj.Created, uj.Updated}
		if err := u.valid(); err != nil {
			return 0, nil, err
		}
		if shardOf(u.ID) != number || s.users[u.ID] != nil {
			return 0, nil, fmt.Errorf("user %s is there twice or does not belong to shard %s", u.ID, j.Shard)
		}
		s.users[u.ID] = u
	}
	for _, d := range j.Deleted {
		s.deleted[row.UserID(d.ID)] = d.At
	}
	return number, s, nil
}
