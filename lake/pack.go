package lake

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A pack is one Parquet object with the few rows that each of many users had at a flush: a
// put for thousands of them. It has the columns of the table behind _user_id, is sorted by
// user and key, and a user's rows are in one row group.
//
// What the log names is a slice: the rows of one user, a [File] of his partition with the name
// of the pack. Above [Lake.Local] nobody knows the difference, since that makes a file of
// the slice's own in the cache (packread.go). A compaction reads slices and writes files, so
// the rows of a user leave the packs when they are many or old (compactchoose.go).
//
// Nothing of a pack is believed unchecked, and none of it has to be read whole: the log has
// the checksum of the footer, and the directory in the footer (metaPack) has the checksums
// of the row groups and says which rows of which group are whose. So the bucket can be
// read, and the log be rebuilt, from packs alone.
//
// A pack is deleted when none of its slices is live and nobody can be reading one. FORGET USER
// does not wait for that, see forgetpacks.go.
//
// It is in packs/<ns>/<table> of the default bucket, and in _kalamdb/packs/<ns>/<table> of
// another location, where no template leads.

const (
	packUsersMax     = 4096
	packGroupRowsMin = 1024    // a row group ends behind the user that fills it
	packGroupBytes   = 1 << 20 // of values, or with that
	packKeysMax      = 4 << 20 // bytes of first and last keys: they are in one log entry
)

// metaPack is the directory of a pack, as JSON, in its footer.
const metaPack = "kalamdb.pack_directory"

// A Pack is where the footer of a pack is.
type Pack struct {
	Bytes  int64 `json:"bytes"`  // of the object
	Footer int64 `json:"footer"` // the last of them, length and magic included
}

// A packState is what a table knows of a pack. live is guarded by the table's mu.
type packState struct {
	Pack
	name, checksum string
	live           int // slices in partitions
}

type packDirectory struct {
	Groups []packGroup `json:"groups"`
	Rest   string      `json:"rest_sha256"` // of what is neither in a group nor in the footer
}

// A packGroup is a row group.
type packGroup struct {
	Offset   int64      `json:"offset"`
	Bytes    int64      `json:"bytes"`
	Checksum string     `json:"sha256"`
	Users    []packUser `json:"users"` // ascending, also over the groups
}

// A packUser says which rows of a group are whose.
type packUser struct {
	User   row.UserID `json:"user"`
	First  int64      `json:"row"`
	Rows   int64      `json:"rows"`
	MinSeq row.Seq    `json:"min_seq"`
	MaxSeq row.Seq    `json:"max_seq"`
}

// find is where the rows of a user are.
func (d *packDirectory) find(user row.UserID) (group int, at packUser, ok bool) {
	group = sort.Search(len(d.Groups), func(i int) bool { return d.Groups[i].Users[len(d.Groups[i].Users)-1].User >= user })
	if group == len(d.Groups) {
		return 0, at, false
	}
	users := d.Groups[group].Users
	i, ok := slices.BinarySearchFunc(users, user, func(u packUser, user row.UserID) int { return cmp.Compare(u.User, user) })
	if !ok {
		return 0, at, false
	}
	return group, users[i], true
}

var packName = regexp.MustCompile(`^pack-[0-9]+-[0-9]+-[0-9a-f]{16}\.parquet$`)

func isPack(name string) bool { return packName.MatchString(name[strings.LastIndexByte(name, '/')+1:]) }

// packFolder is where the packs of t are, with a slash at its end.
func (t *table) packFolder() string {
	folder := "packs/"
	if t.root != "" {
		folder = storagelocations.MetaFolder + "/packs/"
	}
	return folder + t.ref.Namespace + "/" + t.ref.Name + "/"
}

// packNames are the packs with slices that an entry names.
func (t *table) packNames() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	names := make([]string, 0, len(t.packs))
	for name := range t.packs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// deadSlices are the removed slices of a user whose packs are still there. A file made of them
// may have been replaced and deleted long ago: a Rebuild has to hear of them from its successors.
func (t *table) deadSlices(user row.UserID) []*File {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var list []*File
	for i := range t.dead {
		if f := t.dead[i].file; f.pack != nil && f.Partition.User == user {
			list = append(list, f)
		}
	}
	return list
}

// A packWriter makes packs of rows of one schema version. Its life: begin, write and end for
// every user, ascending; then finish. A complete pack is handed to done with its slices, in
// the order of the users, so that memory is bounded by one pack.
type packWriter struct {
	l      *Lake
	t      *table
	layout *layout
	done   func(slices []packed, directory *packDirectory, body []byte) error

	chunk  chunk
	users  []parquet.Value // of the rows of chunk
	user   parquet.Value   // of the rows that are being written
	groups []packGroup     // the last one is open
	rows   int64           // of the open group
	bytes  int             // of its values
	slices []packed        // the last one may be open
	keys   int             // bytes of their first and last keys

	w   *parquet.GenericWriter[any] // nil until the first chunk is complete
	out *bytes.Buffer
}

// A packed is the slice of one user.
type packed struct {
	user row.UserID
	file fileEntry
}

func (l *Lake) newPackWriter(t *table, s *row.Schema, done func([]packed, *packDirectory, []byte) error) *packWriter {
	layout := newLayout(s)
	return &packWriter{l: l, t: t, layout: layout, done: done, chunk: newChunk(s.Columns, layout.leaves)}
}

// begin starts the rows of the next user.
func (w *packWriter) begin(user row.UserID) {
	w.user = parquet.ByteArrayValue([]byte(user))
	w.slices = append(w.slices, packed{user: user})
}

// write adds a row; key and r are the caller's again when it returns.
func (w *packWriter) write(key []byte, r *row.Row) error {
	if err := w.layout.gather(&w.chunk, r); err != nil {
		return err
	}
	w.users = append(w.users, w.user)
	w.slices[len(w.slices)-1].file.count(key, r)
	if w.chunk.full() {
		return w.spill()
	}
	return nil
}

// end completes the rows of a user, and with them the group or the pack if it is large enough.
func (w *packWriter) end() error {
	f := &w.slices[len(w.slices)-1]
	if f.file.Rows == 0 {
		w.slices = w.slices[:len(w.slices)-1]
		return nil
	}
	if w.rows == 0 {
		w.groups = append(w.groups, packGroup{})
	}
	g := &w.groups[len(w.groups)-1]
	g.Users = append(g.Users, packUser{User: f.user, First: w.rows, Rows: f.file.Rows, MinSeq: f.file.MinSeq, MaxSeq: f.file.MaxSeq})
	w.rows += f.file.Rows
	w.keys += len(f.file.MinKey) + len(f.file.MaxKey)
	full := len(w.slices) >= packUsersMax || w.keys >= packKeysMax
	if w.rows < packGroupRowsMin && w.bytes+len(w.chunk.text) < packGroupBytes && !full {
		return nil
	}
	if err := w.endGroup(); err != nil {
		return err
	}
	if full || w.w.Size() >= w.l.opts.FileBytesMax {
		return w.finish()
	}
	return nil
}

// spill gives the chunk to the Parquet writer.
func (w *packWriter) spill() error {
	if w.chunk.rows == 0 {
		return nil
	}
	if w.w == nil {
		w.out = &bytes.Buffer{}
		w.w = parquet.NewGenericWriter[any](w.out, w.layout.options(w.chunk.shape(), w.l.codec, true)...)
	}
	columns := w.w.ColumnWriters()
	if _, err := columns[0].WriteRowValues(w.users); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	w.users = w.users[:0]
	n, err := w.chunk.writeTo(columns[1:])
	w.bytes += n
	return err
}

func (w *packWriter) endGroup() error {
	if err := w.spill(); err != nil {
		return err
	}
	w.rows, w.bytes = 0, 0
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return nil
}

// finish completes the pack, if there is one. The next begin starts another one.
func (w *packWriter) finish() error {
	if len(w.slices) == 0 {
		return nil
	}
	if w.rows > 0 {
		if err := w.endGroup(); err != nil {
			return err
		}
	}
	first, last := row.SeqMax, row.Seq(0)
	for i := range w.slices {
		first, last = min(first, w.slices[i].file.MinSeq), max(last, w.slices[i].file.MaxSeq)
	}
	meta := w.w.SetKeyValueMetadata
	meta(metaTable, w.t.ref.String())
	meta(metaTableID, tableID(w.t.ref.ID))
	meta(metaSchemaVersion, strconv.FormatUint(uint64(w.layout.schema.Version), 10))
	meta(metaMinSeq, strconv.FormatUint(uint64(first), 10))
	meta(metaMaxSeq, strconv.FormatUint(uint64(last), 10))
	if err := w.w.Close(); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	directory := &packDirectory{Groups: w.groups}
	body, footer, err := withDirectory(w.out.Bytes(), directory)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body[len(body)-footer:])
	place := &Pack{Bytes: int64(len(body)), Footer: int64(footer)}
	checksum := hex.EncodeToString(sum[:])
	name := fmt.Sprintf("%spack-%d-%d-%s.parquet", w.t.packFolder(), first, last, checksum[:16])
	i := 0
	for _, g := range w.groups {
		rows := g.Users[len(g.Users)-1].First + g.Users[len(g.Users)-1].Rows
		for range g.Users {
			f := &w.slices[i].file
			f.Name, f.Checksum, f.Pack = name, checksum, place
			f.Bytes = max(1, g.Bytes*f.Rows/rows) // its share
			i++
		}
	}
	done := w.slices
	w.slices, w.groups, w.w, w.out, w.keys = nil, nil, nil, nil, 0
	return w.done(done, directory, body)
}

// withDirectory completes d, which has the users, and puts it into the footer of the pack body.
func withDirectory(body []byte, d *packDirectory) (out []byte, footer int, err error) {
	meta, at, err := splitFooter(body)
	if err != nil {
		return nil, 0, err
	}
	invariant(len(meta.RowGroups) == len(d.Groups), "a pack with other row groups than in its directory")
	rest := sha256.New()
	end := int64(0)
	for i := range meta.RowGroups {
		g := &d.Groups[i]
		from, to := groupSpan(&meta.RowGroups[i])
		invariant(from >= end && to <= int64(at), "row groups of a pack that overlap")
		sum := sha256.Sum256(body[from:to])
		g.Offset, g.Bytes, g.Checksum = from, to-from, hex.EncodeToString(sum[:])
		rest.Write(body[end:from])
		end = to
	}
	rest.Write(body[end:at])
	d.Rest = hex.EncodeToString(rest.Sum(nil))
	text, err := json.Marshal(d)
	if err != nil {
		return nil, 0, err
	}
	meta.KeyValueMetadata = append(meta.KeyValueMetadata, format.KeyValue{Key: metaPack, Value: string(text)})
	out, err = withFooter(body[:at:at], meta)
	return out, len(out) - at, err
}

// groupSpan are the bytes of the pages of a row group.
func groupSpan(g *format.RowGroup) (from, to int64) {
	for i := range g.Columns {
		m := &g.Columns[i].MetaData
		start := m.DataPageOffset
		if m.DictionaryPageOffset > 0 {
			start = min(start, m.DictionaryPageOffset)
		}
		if i == 0 {
			from = start
		}
		from, to = min(from, start), max(to, start+m.TotalCompressedSize)
	}
	return from, to
}
