package lake

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kalamdb/row"
)

// A log entry, _kalamdb/log/<ns>/<table>/<table id>/<20 digits n>.json, is one line of JSON:
//
//	{"sum":"<first 16 hex digits of the SHA-256 of what follows the comma>",
//	 "v":1,"n":7,"node":"…","writer":"…","nonce":"…","time":"2026-01-02T03:04:05.123456Z",
//	 "partitions":[{"user":"ana","through":130,"added":[{"name":"users/ana/app/notes/batch-1-130-….parquet","rows":10,
//	   "bytes":2048,"min_seq":1,"max_seq":130,"min_key":"<base64>","max_key":"<base64>","min_updated":…,"max_updated":…,
//	   "schema":1,"sha256":"…","footer":{"bytes":812,"sha256":"…"}}],"removed":["<name>"]}]}
//
// A slice of a pack (pack.go) is an added file with "pack":{"bytes":…,"footer":…}: its name is that
// of the pack, its sha256 that of the footer, which is the last so many bytes. An
// entry with slices has version 2, so that a server which does not know them stops there.
//
// Numbers start at 1 and have no gaps. `through` is the partition's watermark after
// the entry; it never goes back, also where removed files take rows with them.
//
// A checkpoint has the same form; its `n` is the last entry it covers, its `added`
// are all files of a partition, `dead` are the removed files not deleted yet, and
// `nodes` says who wrote the entries it covers. An entry without partitions claims the
// table for its node, see owner.go.

const (
	formatVersion = 1
	formatPacks   = 2 // there are slices of packs
)

type entry struct {
	Version    int         `json:"v"`
	Number     uint64      `json:"n"`
	Node       string      `json:"node"`   // the data directory that wrote it
	Writer     string      `json:"writer"` // the Lake that wrote it
	Nonce      string      `json:"nonce"`  // the put that wrote it
	Time       time.Time   `json:"time"`
	Partitions []change    `json:"partitions"`
	Dead       []deadEntry `json:"dead,omitempty"`  // checkpoints only
	Nodes      []nodeMark  `json:"nodes,omitempty"` // checkpoints only
}

// A change is what an entry does to one partition.
type change struct {
	User    row.UserID  `json:"user,omitempty"`
	Through row.Seq     `json:"through"`
	Added   []fileEntry `json:"added,omitempty"`
	Removed []string    `json:"removed,omitempty"`
}

type fileEntry struct {
	Name       string    `json:"name"`
	Rows       int64     `json:"rows"`
	Bytes      int64     `json:"bytes"`
	Deleted    int64     `json:"deleted,omitempty"`
	MinSeq     row.Seq   `json:"min_seq"`
	MaxSeq     row.Seq   `json:"max_seq"`
	MinKey     []byte    `json:"min_key"`
	MaxKey     []byte    `json:"max_key"`
	MinUpdated int64     `json:"min_updated"`
	MaxUpdated int64     `json:"max_updated"`
	Schema     uint32    `json:"schema"`
	Checksum   string    `json:"sha256"`
	Footer     Footer    `json:"footer,omitzero"`
	Created    time.Time `json:"created,omitzero"` // checkpoints only: the time of the entry that added it
	Pack       *Pack     `json:"pack,omitempty"`   // of a slice
}

type deadEntry struct {
	User    row.UserID `json:"user,omitempty"`
	Removed time.Time  `json:"removed"`
	File    fileEntry  `json:"file"`
}

func (a *fileEntry) file(t *table, user row.UserID, created time.Time) *File {
	if !a.Created.IsZero() {
		created = a.Created
	}
	f := &File{
		Name: a.Name, Root: t.root, Partition: row.Partition{Table: t.ref, User: user},
		Rows: a.Rows, Bytes: a.Bytes, Deleted: a.Deleted, MinSeq: a.MinSeq, MaxSeq: a.MaxSeq,
		MinKey: a.MinKey, MaxKey: a.MaxKey, MinUpdated: a.MinUpdated, MaxUpdated: a.MaxUpdated,
		SchemaVersion: a.Schema, Checksum: a.Checksum, Footer: a.Footer, Created: created,
	}
	if a.Pack != nil {
		p := t.packs[a.Name]
		if p == nil {
			p = &packState{name: a.Name, checksum: a.Checksum, Pack: *a.Pack}
			t.packs[a.Name] = p
		}
		f.Name, f.Checksum, f.pack = p.name, p.checksum, p // one text for all its slices
	}
	return f
}

func entryOf(f *File) fileEntry {
	e := fileEntry{
		Name: f.Name, Rows: f.Rows, Bytes: f.Bytes, Deleted: f.Deleted, MinSeq: f.MinSeq, MaxSeq: f.MaxSeq,
		MinKey: f.MinKey, MaxKey: f.MaxKey, MinUpdated: f.MinUpdated, MaxUpdated: f.MaxUpdated,
		Schema: f.SchemaVersion, Checksum: f.Checksum, Footer: f.Footer, Created: f.Created,
	}
	if f.pack != nil {
		e.Pack = &f.pack.Pack
	}
	return e
}

const (
	sumDigits = 16
	sumPrefix = `{"sum":"`
	sumSuffix = `",`
	bodyStart = len(sumPrefix) + sumDigits + len(sumSuffix)
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:sumDigits/2])
}

func (e *entry) encode() []byte {
	e.Version = formatVersion
	slice := func(f fileEntry) bool { return f.Pack != nil }
	if slices.ContainsFunc(e.Partitions, func(c change) bool { return slices.ContainsFunc(c.Added, slice) }) ||
		slices.ContainsFunc(e.Dead, func(d deadEntry) bool { return slice(d.File) }) {
		e.Version = formatPacks
	}
	b, err := json.Marshal(e)
	invariant(err == nil, "a log entry cannot be written as JSON")
	rest := b[1:] // behind the brace
	out := make([]byte, 0, bodyStart+len(rest))
	out = append(out, sumPrefix+sum(rest)+sumSuffix...)
	return append(out, rest...)
}

// decodeEntry reads an entry or checkpoint and checks that it is the one with number n.
func decodeEntry(b []byte, n uint64) (*entry, error) {
	if len(b) < bodyStart || string(b[:len(sumPrefix)]) != sumPrefix {
		return nil, corruptf("%d bytes without a checksum", len(b))
	}
	if got, want := sum(b[bodyStart:]), string(b[len(sumPrefix):len(sumPrefix)+sumDigits]); got != want {
		return nil, corruptf("checksum %s, expected %s", got, want)
	}
	e := &entry{}
	if err := json.Unmarshal(b, e); err != nil {
		return nil, corruptf("%v", err)
	}
	if e.Version < formatVersion || e.Version > formatPacks {
		return nil, fmt.Errorf("format version %d, this server knows %d to %d", e.Version, formatVersion, formatPacks)
	}
	if e.Number != n {
		return nil, corruptf("it says that it is number %d", e.Number)
	}
	return e, nil
}

// folder is where the log or the checkpoints of a table are.
func (t *table) folder(kind string) string {
	return fmt.Sprintf("_kalamdb/%s/%s/%s/%016x/", kind, t.ref.Namespace, t.ref.Name, t.ref.ID)
}

func (t *table) entryName(n uint64) string {
	return fmt.Sprintf("%s%020d.json", t.folder("log"), n)
}

func (t *table) checkpointName(n uint64) string {
	return fmt.Sprintf("%s%020d.json", t.folder("checkpoint"), n)
}

// numberOf is the number in the name of an entry or checkpoint.
func numberOf(name string) (uint64, bool) {
	base := name[strings.LastIndexByte(name, '/')+1:]
	digits, ok := strings.CutSuffix(base, ".json")
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func isCorrupt(err error) bool { return errors.Is(err, ErrCorrupt) }

// invariant stops the program at a bug of ours; faults of the world are errors.
func invariant(ok bool, what string) {
	if !ok {
		panic("lake: broken invariant: " + what)
	}
}

func sortChanges(c []change) {
	slices.SortFunc(c, func(a, b change) int {
		return cmp.Or(strings.Compare(string(a.User), string(b.User)), cmp.Compare(a.Through, b.Through))
	})
}

// splitChanges cuts a round so that no entry passes entryBytesMax by far. A
// partition is never split: its files and its watermark are one. Nor is a pack: each of its
// slices is named, or none.
func splitChanges(all []change) [][]change {
	ends := map[string]int{} // of packs: their last change
	for i, c := range all {
		for _, f := range c.Added {
			if f.Pack != nil {
				ends[f.Name] = i
			}
		}
	}
	var parts [][]change
	size, open := 0, -1
	for i, c := range all {
		n := 64 + len(c.User)
		for _, f := range c.Added {
			n += 320 + len(f.Name) + 4*(len(f.MinKey)+len(f.MaxKey))/3
		}
		if i == 0 || i > open && size+n > entryBytesMax {
			parts = append(parts, nil)
			size = 0
		}
		size += n
		for _, f := range c.Added {
			if f.Pack != nil {
				open = max(open, ends[f.Name])
			}
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], c)
	}
	return parts
}
