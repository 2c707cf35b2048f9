package lake

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A Rebuilt is what [Rebuild] made of a table's log.
type Rebuilt struct {
	Table       row.TableRef
	Needed      bool   // false: the log is whole, nothing was done
	Entry       uint64 // the new log begins behind this entry
	Files, Rows int64  // in the new log
	Found       int64  // of these files: no readable entry names them
	LeftOut     []string
	Lost        []string // files that a readable entry names and that are not there
	Unreadable  []string
}

// Rebuild makes a new log for a table whose log cannot be replayed, or is gone, from the
// files that are there, their footers, and what can still be read of the log. Nothing is
// deleted. The steps:
//
//  1. Every entry and checkpoint that can be read says which files were removed for good, and
//     what is known of others.
//  2. Every file in the folders of the table whose footer names it counts, unless it was
//     removed. Of a merged file that no readable entry names and the files that it replaces
//     (metaReplaces) the latter count if all of them are there, since the merge may be half
//     done; otherwise they were being deleted, and the merged file counts.
//  3. A file that no readable entry names and whose rows are still in the write buffer is left
//     out: the buffer is the better witness, and flushes them again under the same name.
//  4. An empty entry behind everything that was ever written fences servers that go on with
//     the old log; then a checkpoint of that number has the files. A crash between the two
//     is repeated by the next call.
//
// waiting are the rows of the write buffer that belongs to o.Node. With dry nothing is
// written, and Needed says whether something would be.
func Rebuild(ctx context.Context, o Options, c *catalog.Table, waiting []row.Segment, dry bool) (*Rebuilt, error) {
	l, err := Open(ctx, o, nil)
	if err != nil {
		return nil, err
	}
	defer l.cache.close()
	b, err := l.bucketOf(c)
	if err != nil {
		return nil, err
	}
	r := &rebuilder{l: l, t: newTable(c, b), known: map[string]*File{}, removed: map[string]bool{},
		through: map[row.UserID]row.Seq{}, waiting: map[row.UserID]row.Seq{}, out: Rebuilt{Table: c.Ref}}
	l.tables[c.Ref.ID] = r.t
	for _, seg := range waiting {
		if user := seg.Partition.User; seg.Partition.Table.ID == c.Ref.ID {
			if first, ok := r.waiting[user]; !ok || seg.First < first {
				r.waiting[user] = seg.First
			}
		}
	}
	err = r.rebuild(ctx)
	if err == nil && r.out.Needed && !dry {
		err = r.write(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("rebuild the log of %s: %w", c.Ref, err)
	}
	return &r.out, nil
}

type rebuilder struct {
	l       *Lake
	t       *table
	known   map[string]*File // by id, of readable entries
	removed map[string]bool
	through map[row.UserID]row.Seq // by readable entries
	waiting map[row.UserID]row.Seq // the first commit of each user in the write buffer
	files   map[string]*File       // by id, that count
	out     Rebuilt
}

// rebuild finds out what the new log has, if one is needed.
func (r *rebuilder) rebuild(ctx context.Context) error {
	checkpoints, entries, err := r.l.logNumbers(ctx, r.t)
	if err != nil {
		return err
	}
	end := uint64(0)
	for _, n := range slices.Concat(checkpoints, entries) {
		end = max(end, n)
	}
	if end > 0 {
		whole := newTable(r.t.catalog, r.t.bucket)
		v := &verifier{l: r.l}
		if t, err := v.load(ctx, whole.catalog); err != nil || t != nil {
			return err
		}
	}
	for i, list := range [][]uint64{checkpoints, entries} {
		for _, n := range list {
			name := r.t.entryName(n)
			if i == 0 {
				name = r.t.checkpointName(n)
			}
			e, err := readEntry(ctx, r.l.opts.Meta, name, n)
			if err != nil && !faulty(err) {
				return err
			}
			if err == nil {
				r.learn(e)
			}
		}
	}
	if err := r.look(ctx); err != nil {
		return err
	}
	if end == 0 && len(r.files) == 0 {
		return nil // a table without a log and without files
	}
	r.out.Needed, r.out.Entry = true, end+1
	for _, f := range r.files {
		r.out.Files, r.out.Rows = r.out.Files+1, r.out.Rows+f.Rows
	}
	return nil
}

// learn notes what e says about files.
func (r *rebuilder) learn(e *entry) {
	for i := range e.Partitions {
		c := &e.Partitions[i]
		for j := range c.Added {
			f := c.Added[j].file(r.t, c.User, e.Time)
			r.known[f.id()] = f
		}
		for _, name := range c.Removed {
			r.removed[fileID(name, c.User)] = true
		}
		r.through[c.User] = max(r.through[c.User], c.Through)
	}
	for i := range e.Dead {
		r.removed[fileID(e.Dead[i].File.Name, e.Dead[i].User)] = true
	}
}

// look finds the files that count.
func (r *rebuilder) look(ctx context.Context) error {
	r.files = map[string]*File{}
	merges := map[string][]string{} // by id: the hashes of the files that a merged one replaces
	there := map[string]bool{}      // by mergeID
	_, ours := r.t.folders()
	for info, err := range r.t.listFiles(ctx) {
		if err != nil {
			return err
		}
		if !ours(info.Name) {
			continue
		}
		list, replaces, err := r.examine(ctx, info)
		switch {
		case err != nil && faulty(err):
			r.out.Unreadable = append(r.out.Unreadable, info.Name)
			continue
		case err != nil:
			return err
		}
		for _, f := range list {
			r.files[f.id()] = f
			if there[f.mergeID()] = !r.removed[f.id()]; len(replaces) > 0 {
				merges[f.id()] = replaces
			}
		}
	}
	replaced := map[string]bool{} // by mergeID
	for id, inputs := range merges {
		f := r.files[id]
		if r.known[id] == nil && !slices.ContainsFunc(inputs, func(hash string) bool { return !there[mergeID(f.Partition.User, hash)] }) {
			replaced[f.mergeID()] = true
			continue
		}
		for _, hash := range inputs {
			replaced[mergeID(f.Partition.User, hash)] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.files)) {
		f := r.files[id]
		name := f.label()
		first, buffered := r.waiting[f.Partition.User]
		_, known := r.known[id]
		switch {
		case r.removed[id] || replaced[f.mergeID()]:
		case !known && buffered && f.MinSeq >= first:
		case !known && buffered && f.MaxSeq >= first:
			return fmt.Errorf("%s has rows of commits %d to %d, and the write buffer has those from %d on: only one of them can be right", name, f.MinSeq, f.MaxSeq, first)
		default:
			if !known {
				r.out.Found++
			}
			continue
		}
		r.out.LeftOut = append(r.out.LeftOut, name)
		delete(r.files, id)
	}
	for _, id := range slices.Sorted(maps.Keys(r.known)) {
		f := r.known[id]
		if r.files[id] == nil && !r.removed[id] && !replaced[f.mergeID()] && !slices.Contains(r.out.Unreadable, f.Name) {
			r.out.Lost = append(r.out.Lost, f.label())
		}
	}
	return r.leaveOutRepeats(ctx)
}

// hashOf is the part of a file's name that is made from its content.
func hashOf(name string) string {
	base := strings.TrimSuffix(path.Base(name), ".parquet")
	return base[strings.LastIndexByte(base, '-')+1:]
}

// examine reads a file, which may be a pack of many; none if it is of another table.
func (r *rebuilder) examine(ctx context.Context, info storagelocations.Info) (list []*File, replaces []string, err error) {
	body, err := read(ctx, r.t.bucket, info.Name)
	if err != nil {
		return nil, nil, err
	}
	pf, err := parquet.OpenFile(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, nil, corruptf("%v", err)
	}
	if id, _ := pf.Lookup(metaTableID); id != tableID(r.t.ref.ID) {
		return nil, nil, nil
	}
	if isPack(info.Name) {
		list, err = r.examinePack(ctx, info, body, pf)
		return list, nil, err
	}
	if list, ok := pf.Lookup(metaReplaces); ok {
		replaces = strings.Split(list, " ")
	}
	sum := sha256.Sum256(body)
	footer, err := footerOf(body)
	if err != nil {
		return nil, nil, err
	}
	f := &File{Footer: footer, Name: info.Name, Root: r.t.root, Bytes: int64(len(body)), Checksum: hex.EncodeToString(sum[:]), Created: info.Modified.UTC()}
	if !strings.HasPrefix(f.Checksum, hashOf(info.Name)) {
		return nil, nil, corruptf("the name is not that of the content")
	}
	if known := r.known[info.Name]; known != nil && known.Checksum == f.Checksum {
		return []*File{known}, replaces, nil
	}
	user, _ := pf.Lookup(metaUser)
	f.Partition = row.Partition{Table: r.t.ref, User: row.UserID(user)}
	text, _ := pf.Lookup(metaSchemaVersion)
	version, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, nil, corruptf("schema version %q", text)
	}
	f.SchemaVersion = uint32(version)
	s := r.l.schemaAt(r.t, f.SchemaVersion)
	if s == nil {
		return nil, nil, corruptf("schema version %d, which the table never had", f.SchemaVersion)
	}
	return []*File{f}, replaces, r.measure(ctx, f, s)
}

// measure fills in what only the rows of f say.
func (r *rebuilder) measure(ctx context.Context, f *File, s *row.Schema) error {
	local, release, err := r.l.Local(ctx, f)
	if err != nil {
		return err
	}
	defer release()
	defer r.l.cache.forget(r.t.bucket, f.Name)
	in, err := openReader(local, newLayout(s))
	if err != nil {
		return err
	}
	defer in.file.Close()
	return in.versions(ctx, func(v *version) error {
		if f.Rows == 0 {
			f.MinSeq, f.MaxSeq, f.MinUpdated, f.MaxUpdated = v.seq, v.seq, v.updated, v.updated
			f.MinKey = bytes.Clone(v.key)
		}
		f.Rows++
		f.MinSeq, f.MaxSeq = min(f.MinSeq, v.seq), max(f.MaxSeq, v.seq)
		f.MinUpdated, f.MaxUpdated = min(f.MinUpdated, v.updated), max(f.MaxUpdated, v.updated)
		f.MaxKey = append(f.MaxKey[:0], v.key...)
		if v.deleted {
			f.Deleted++
		}
		return nil
	})
}

// write puts the new log behind the old one.
func (r *rebuilder) write(ctx context.Context) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	e := &entry{Version: formatVersion, Number: r.out.Entry, Node: r.l.opts.Node, Writer: r.l.writer, Nonce: randomName(), Time: now}
	if _, err := r.l.opts.Meta.Put(ctx, r.t.entryName(e.Number), e.encode(), storagelocations.Cond{IfNoneMatch: true}); err != nil {
		if errors.Is(err, storagelocations.ErrPrecondition) {
			err = fmt.Errorf("%w: a server is writing to the log; stop it", ErrFenced)
		}
		return err
	}
	changes := map[row.UserID]*change{}
	of := func(user row.UserID) *change {
		if changes[user] == nil {
			changes[user] = &change{User: user}
		}
		return changes[user]
	}
	for user, through := range r.through {
		of(user).Through = through
	}
	for _, f := range slices.SortedFunc(maps.Values(r.files), func(a, b *File) int {
		return cmp.Or(cmp.Compare(a.MinSeq, b.MinSeq), strings.Compare(a.Name, b.Name))
	}) {
		c := of(f.Partition.User)
		c.Added = append(c.Added, entryOf(f))
		c.Through = max(c.Through, f.MaxSeq)
	}
	e.Nonce = randomName()
	e.Nodes = []nodeMark{{Node: r.l.opts.Node, Last: e.Number, Rows: e.Number}}
	for _, user := range slices.Sorted(maps.Keys(changes)) {
		e.Partitions = append(e.Partitions, *changes[user])
	}
	_, err := r.l.opts.Meta.Put(ctx, r.t.checkpointName(e.Number), e.encode(), storagelocations.Cond{IfNoneMatch: true})
	return err
}
