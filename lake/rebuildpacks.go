package lake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// fileID names a file of a table. The slices of a pack have one name and differ by their user.
func fileID(name string, user row.UserID) string {
	if isPack(name) {
		return name + "\x00" + string(user)
	}
	return name
}

func (f *File) id() string { return fileID(f.Name, f.Partition.User) }

// label is id for people.
func (f *File) label() string {
	if f.pack == nil {
		return f.Name
	}
	return f.Name + " (user " + string(f.Partition.User) + ")"
}

// mergeID names a file as metaReplaces of a merged file of the user does.
func mergeID(user row.UserID, hash string) string { return string(user) + "\x00" + hash }

func (f *File) mergeID() string { return mergeID(f.Partition.User, hashOf(f.Name)) }

// examinePack reads a pack, whose Parquet file is pf, and returns its slices.
func (r *rebuilder) examinePack(ctx context.Context, info storagelocations.Info, body []byte, pf *parquet.File) ([]*File, error) {
	_, at, err := splitFooter(body)
	if err != nil {
		return nil, err
	}
	footer := &packFooter{body: body[at:]}
	if err := footer.parse(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(footer.body)
	checksum := hex.EncodeToString(sum[:])
	if !strings.HasPrefix(checksum, hashOf(info.Name)) {
		return nil, corruptf("the name is not that of the content")
	}
	if err := footer.directory.check(body[:at]); err != nil {
		return nil, err
	}
	text, _ := pf.Lookup(metaSchemaVersion)
	version, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, corruptf("schema version %q", text)
	}
	s := r.l.schemaAt(r.t, uint32(version))
	if s == nil {
		return nil, corruptf("schema version %d, which the table never had", version)
	}
	var list []*File
	for _, g := range footer.directory.Groups {
		rows := g.Users[len(g.Users)-1].First + g.Users[len(g.Users)-1].Rows
		for _, u := range g.Users {
			if known := r.known[fileID(info.Name, u.User)]; known != nil && known.Checksum == checksum {
				list = append(list, known)
				continue
			}
			e := fileEntry{Name: info.Name, Checksum: checksum, Bytes: max(1, g.Bytes*u.Rows/rows), Pack: &Pack{Bytes: int64(len(body)), Footer: int64(len(body) - at)}}
			f := e.file(r.t, u.User, info.Modified.UTC())
			f.Rows, f.SchemaVersion = u.Rows, s.Version
			if err := r.measureSlice(ctx, f, s); err != nil {
				return nil, err
			}
			list = append(list, f)
		}
	}
	return list, nil
}

// measureSlice fills in what only the rows of f say.
func (r *rebuilder) measureSlice(ctx context.Context, f *File, s *row.Schema) error {
	var e fileEntry
	var key []byte
	err := r.l.eachOfSlice(ctx, r.t.bucket, f, s, func(x *row.Row) error {
		key = key[:0]
		for _, i := range s.KeyIndexes() {
			key = row.AppendKey(key, x.Values[i])
		}
		if e.Rows > 0 && bytes.Compare(e.MaxKey, key) >= 0 {
			return corruptf("row %d of %s has a key out of order", e.Rows+1, f.Partition)
		}
		e.count(key, x)
		return nil
	})
	f.Deleted, f.MinSeq, f.MaxSeq, f.MinKey, f.MaxKey = e.Deleted, e.MinSeq, e.MaxSeq, e.MinKey, e.MaxKey
	f.MinUpdated, f.MaxUpdated = e.MinUpdated, e.MaxUpdated
	return err
}

// leaveOutRepeats takes slices out of files that no readable entry names and of whose
// rows other files of their user have newer versions or the same: a pack may have been
// written by a flush that went on with others, and nobody collected it.
func (r *rebuilder) leaveOutRepeats(ctx context.Context) error {
	byUser := map[row.UserID][]*File{}
	for _, f := range r.files {
		byUser[f.Partition.User] = append(byUser[f.Partition.User], f)
	}
	for _, id := range slices.Sorted(maps.Keys(r.files)) {
		f := r.files[id]
		if f.pack == nil || r.known[id] != nil {
			continue
		}
		mine := byUser[f.Partition.User]
		others := slices.DeleteFunc(slices.Clone(mine), func(o *File) bool { return o == f || !overlap(o, f) || o.MaxSeq < f.MinSeq })
		if len(others) == 0 {
			continue
		}
		repeat, err := r.repeats(ctx, f, others)
		if err != nil {
			return err
		}
		if repeat {
			byUser[f.Partition.User] = slices.DeleteFunc(mine, func(o *File) bool { return o == f })
			r.out.LeftOut = append(r.out.LeftOut, f.label())
			delete(r.files, id)
		}
	}
	return nil
}

// repeats says whether others have every row of f, or newer ones in their place.
func (r *rebuilder) repeats(ctx context.Context, f *File, others []*File) (bool, error) {
	s := r.l.schemaAt(r.t, f.SchemaVersion)
	seqs := map[string]row.Seq{}
	var keys [][]byte
	if err := r.l.eachOfSlice(ctx, r.t.bucket, f, s, func(x *row.Row) error {
		key := s.KeyOf(x.Values)
		keys = append(keys, key)
		seqs[string(key)] = x.Seq
		return nil
	}); err != nil {
		return false, err
	}
	found, err := r.l.Find(ctx, &Manifest{Files: others}, s, keys)
	if err != nil {
		return false, err
	}
	for key, seq := range seqs {
		if found[key].Seq < seq {
			return false, nil
		}
	}
	return true, nil
}
