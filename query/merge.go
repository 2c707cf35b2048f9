package query

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kalamdb/row"
)

// A merge answers "the current rows of this relation" with the cheapest SQL that is
// right, chosen per file:
//
//   - a file that no buffered key and no other file reaches is read as it is;
//   - a file with buffered keys in its key range loses those keys by an anti-join;
//   - files whose key ranges overlap each other lose the rows that a newer file of
//     the same group has again.
//
// A statement that names one whole key looks into the buffer first; a key found
// there needs no file. Files outside the key range a statement asks for are left out.
type merge struct {
	ctx     context.Context
	rel     *Relation
	ref     *baseRef
	out     *strings.Builder
	sources *[]source
	release *[]func()
	late    func(row.Value) string // see spliced.late
	read    *reading               // what is noted for EXPLAIN

	from, to []byte // the keys the statement can see: [from, to)
	keys     []string

	narrow bool // a file is there in part: only columns that are used are named

	// Of ALL_USERS only.
	user      string // the expression of the first column
	fileNames bool   // rows tell their file
}

// keysCollectMax is how many buffered keys in the range of the files are collected
// at once; with more, each file is probed by itself and the anti-join scans.
const keysCollectMax = 8192

// write appends the subquery, without the parentheses around it.
func (m *merge) write(params []row.Value) error {
	r := m.rel
	if !r.System {
		hot := r.Hot
		if r.Narrow != nil {
			hot = r.Narrow(conditions(r.Schema, m.ref.where, params), m.ref.top.with(r.Schema, params))
		}
		m.read.buffered(hot)
		m.rows(hot, false)
		return nil
	}
	if r.Users != nil {
		return m.allUsers(params)
	}
	groups, hot, err := m.parts(params)
	if err != nil {
		return err
	}
	n := 0
	part := func() {
		if n++; n > 1 {
			m.out.WriteString(" UNION ALL ")
		}
	}
	m.plainGroups(groups, part)
	for _, g := range groups {
		if g.hasJoin() {
			part()
			m.joined(g)
		}
	}
	if hot != nil || n == 0 {
		part()
		m.rows(hot, true)
	}
	return nil
}

// parts are the files, which are local now, and the buffered rows that the statement
// needs; nil for none.
func (m *merge) parts(params []row.Value) (groups []*fileGroup, hot Hot, err error) {
	r := m.rel
	m.keys = nil
	for _, i := range r.Schema.KeyIndexes() {
		m.keys = append(m.keys, quoteName(r.Schema.Columns[i].Name))
	}
	var exact bool
	m.from, m.to, exact = keyRange(r.Schema, m.ref.where, params)
	files := m.relevant()
	hot = r.Hot
	if hot != nil && hot.Len() == 0 {
		hot = nil
	}
	if exact && hot != nil {
		found, ok, err := hot.Get(m.from)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			m.read.byKey++
			return nil, one{key: m.from, row: found.Clone()}, nil
		}
		hot = nil
	}
	groups, err = m.group(files, hot)
	if err != nil {
		return nil, nil, err
	}
	m.read.note(groups, hot)
	return groups, hot, m.local(groups)
}

// relevant are the files that can hold a key of the range.
func (m *merge) relevant() []*mergeFile {
	var files []*mergeFile
	for i := range m.rel.Files {
		f := &m.rel.Files[i]
		m.read.consider(f)
		if m.from != nil && bytes.Compare(f.MaxKey, m.from) < 0 || m.to != nil && bytes.Compare(f.MinKey, m.to) >= 0 {
			m.read.outside++
			continue
		}
		if f.Rows == f.Deleted && len(m.rel.Files) == 1 && !m.ref.deleted {
			m.read.deleted++
			continue
		}
		files = append(files, &mergeFile{File: f})
	}
	slices.SortFunc(files, func(a, b *mergeFile) int { return bytes.Compare(a.MinKey, b.MinKey) })
	return files
}

// A mergeFile is a file that takes part.
type mergeFile struct {
	*File
	path    string
	touched bool // a buffered key lies in its range
}

// A fileGroup is files whose key ranges hang together; most groups are one file.
type fileGroup struct {
	files  []*mergeFile
	source int // of the buffered keys to take away; -1: none
}

func (g *fileGroup) hasJoin() bool { return len(g.files) > 1 || g.source >= 0 }

// group splits files, ascending by MinKey, where no range reaches over the gap.
func (m *merge) group(files []*mergeFile, hot Hot) ([]*fileGroup, error) {
	keys, complete, err := m.touch(files, hot)
	if err != nil {
		return nil, err
	}
	var groups []*fileGroup
	var end []byte
	for _, f := range files {
		if len(groups) == 0 || bytes.Compare(f.MinKey, end) > 0 {
			groups = append(groups, &fileGroup{source: -1})
			end = nil
		}
		g := groups[len(groups)-1]
		g.files = append(g.files, f)
		if bytes.Compare(f.MaxKey, end) > 0 {
			end = f.MaxKey
		}
	}
	for _, g := range groups {
		if !slices.ContainsFunc(g.files, func(f *mergeFile) bool { return f.touched }) {
			continue
		}
		from, to := g.files[0].MinKey, slices.MaxFunc(g.files, func(a, b *mergeFile) int { return bytes.Compare(a.MaxKey, b.MaxKey) }).MaxKey
		to = append(append([]byte(nil), to...), 0)
		var src source
		if complete {
			lo, _ := slices.BinarySearchFunc(keys, from, bytes.Compare)
			hi, _ := slices.BinarySearchFunc(keys, to, bytes.Compare)
			src = keySource(m.rel.Schema, keys[lo:hi])
		} else {
			src = hotSource(m.rel, hot, from, to, true)
			src.keyColumns(m.rel.Schema)
		}
		g.source = m.addSource(src)
	}
	return groups, nil
}

// touch marks the files with a buffered key in their range. keys are the buffered
// keys between the first and the last file, all of them if complete.
func (m *merge) touch(files []*mergeFile, hot Hot) (keys [][]byte, complete bool, err error) {
	if hot == nil || len(files) == 0 {
		return nil, true, nil
	}
	last := slices.MaxFunc(files, func(a, b *mergeFile) int { return bytes.Compare(a.MaxKey, b.MaxKey) }).MaxKey
	end := append(append([]byte(nil), last...), 0)
	complete = true
	var arena []byte
	err = hot.Scan(files[0].MinKey, end, func(key []byte, _ *row.Row) bool {
		if len(keys) == keysCollectMax {
			complete = false
			return false
		}
		arena = append(arena, key...)
		keys = append(keys, arena[len(arena)-len(key):len(arena):len(arena)])
		return true
	})
	if err != nil {
		return nil, false, err
	}
	for _, f := range files {
		if i, _ := slices.BinarySearchFunc(keys, f.MinKey, bytes.Compare); i < len(keys) {
			f.touched = bytes.Compare(keys[i], f.MaxKey) <= 0
			continue
		}
		if complete {
			continue
		}
		probe := append(append([]byte(nil), f.MaxKey...), 0)
		if err := hot.Scan(f.MinKey, probe, func([]byte, *row.Row) bool { f.touched = true; return false }); err != nil {
			return nil, false, err
		}
	}
	return keys, complete, nil
}

const (
	localAtOnce = 16                     // files of a statement fetched at the same time
	localSlow   = 500 * time.Microsecond // a file that takes longer was not in the cache
)

// local makes the files of the groups local.
func (m *merge) local(groups []*fileGroup) error {
	var files []*mergeFile
	var needs [][]row.ColumnID
	for _, g := range groups {
		files = append(files, g.files...)
		for _, f := range g.files {
			var need []row.ColumnID
			if f.Part != nil {
				need = m.needed(g)
			}
			needs = append(needs, need)
		}
	}
	releases := make([]func(), len(files))
	partial := make([]bool, len(files))
	eg, ctx := errgroup.WithContext(m.ctx)
	eg.SetLimit(localAtOnce)
	fetch := func(i int) (err error) {
		f := files[i]
		if f.Part != nil {
			f.path, partial[i], releases[i], err = f.Part(ctx, needs[i], m.from, m.to)
			return err
		}
		f.path, releases[i], err = f.Local(ctx)
		return err
	}
	slow := false // a file had to come from the bucket: fetch the rest at the same time
	for i := range files {
		if slow {
			eg.Go(func() error { return fetch(i) })
			continue
		}
		start := time.Now()
		if err := fetch(i); err != nil {
			eg.Go(func() error { return err })
			break
		}
		slow = time.Since(start) > localSlow
	}
	err := eg.Wait()
	for _, r := range releases {
		if r != nil {
			*m.release = append(*m.release, r)
		}
	}
	m.narrow = m.narrow || slices.Contains(partial, true)
	for _, f := range files {
		if err == nil && strings.ContainsAny(f.path, "*?[]{}\n") {
			err = errors.New("a cached file has a name that DuckDB would expand")
		}
	}
	return err
}

// plainGroups reads the files nobody reaches, those with deleted rows apart.
func (m *merge) plainGroups(groups []*fileGroup, part func()) {
	var clean, dirty []*mergeFile
	for _, g := range groups {
		switch {
		case g.hasJoin():
		case g.files[0].Deleted == 0 || m.ref.deleted:
			clean = append(clean, g.files[0])
		default:
			dirty = append(dirty, g.files[0])
		}
	}
	if len(clean) > 0 {
		part()
		m.columns("")
		m.fromFiles(clean)
	}
	if len(dirty) > 0 {
		part()
		m.columns("")
		m.fromFiles(dirty)
		m.out.WriteString(` WHERE NOT "_deleted"`)
	}
}

// chainMax is the largest group whose files are each joined with the newer ones; a
// larger group is joined with itself by _seq.
const chainMax = 4

// joined reads a group without the rows that something newer replaces.
func (m *merge) joined(g *fileGroup) {
	slices.SortFunc(g.files, func(a, b *mergeFile) int {
		if a.MinSeq < b.MinSeq {
			return -1
		}
		return 1
	})
	ordered := len(g.files) <= chainMax
	for i := 1; i < len(g.files); i++ {
		ordered = ordered && g.files[i-1].MaxSeq < g.files[i].MinSeq
	}
	if !ordered {
		m.columns("f.")
		m.fromFiles(g.files)
		m.out.WriteString(" AS f ANTI JOIN (SELECT " + strings.Join(m.keys, ", ") + `, "_seq"`)
		m.fromFiles(g.files)
		m.out.WriteString(") AS n ON ")
		m.sameKey("n")
		m.out.WriteString(` AND n."_seq" > f."_seq"`)
		m.buffered(g)
		return
	}
	for i, f := range g.files {
		if i > 0 {
			m.out.WriteString(" UNION ALL ")
		}
		m.columns("f.")
		m.fromFiles([]*mergeFile{f})
		m.out.WriteString(" AS f")
		if newer := reaching(f, g.files[i+1:]); len(newer) > 0 {
			m.out.WriteString(" ANTI JOIN (SELECT " + strings.Join(m.keys, ", "))
			m.fromFiles(newer)
			m.out.WriteString(") AS n ON ")
			m.sameKey("n")
		}
		m.buffered(g)
	}
}

// reaching are the files whose key range overlaps that of f.
func reaching(f *mergeFile, files []*mergeFile) []*mergeFile {
	var out []*mergeFile
	for _, o := range files {
		if bytes.Compare(o.MinKey, f.MaxKey) <= 0 && bytes.Compare(o.MaxKey, f.MinKey) >= 0 {
			out = append(out, o)
		}
	}
	return out
}

// buffered takes away the keys that the buffer has, then the deleted rows.
func (m *merge) buffered(g *fileGroup) {
	if g.source >= 0 {
		m.out.WriteString(" ANTI JOIN " + scanFunction + "(" + strconv.Itoa(g.source) + ") AS h ON ")
		m.sameKey("h")
	}
	if !m.ref.deleted && slices.ContainsFunc(g.files, func(f *mergeFile) bool { return f.Deleted > 0 }) {
		m.out.WriteString(` WHERE NOT f."_deleted"`)
	}
}

func (m *merge) sameKey(with string) {
	for i, k := range m.keys {
		if i > 0 {
			m.out.WriteString(" AND ")
		}
		m.out.WriteString("f." + k + " = " + with + "." + k)
	}
}

// columns writes SELECT and the columns a statement sees. A file gives every type as
// declared, but for the ones that Parquet knows in another form.
func (m *merge) columns(table string) {
	m.out.WriteString("SELECT ")
	if m.user != "" {
		m.out.WriteString(m.user + ` AS "` + UserColumn + `", `)
	}
	n := 0
	comma := func() {
		if n++; n > 1 {
			m.out.WriteString(", ")
		}
	}
	for _, c := range m.rel.Schema.Columns {
		if !m.named(c.Name) {
			continue
		}
		comma()
		name := quoteName(c.Name)
		switch k := c.Type.Kind; {
		case k == row.Embedding || k == row.JSON || k == row.UUID || k == row.List && c.Type.Elem == row.JSON:
			m.out.WriteString("CAST(" + table + name + " AS " + c.Type.String() + ") AS " + name)
		default:
			m.out.WriteString(table + name)
		}
	}
	if m.shown(row.ColSeq) {
		comma()
		m.out.WriteString(table + `"_seq"`)
	}
	if m.shown(row.ColUpdated) && m.named(row.ColUpdated) {
		comma()
		m.out.WriteString(table + `"_updated"`)
	}
	switch {
	case !m.shown(row.ColDeleted):
	case m.ref.deleted || m.rel.ShowDeleted:
		comma()
		m.out.WriteString(table + `"_deleted"`)
	default:
		comma()
		m.out.WriteString(`FALSE AS "_deleted"`)
	}
}

// named says whether the column is in the statement that DuckDB gets.
func (m *merge) named(column string) bool {
	return !m.narrow || m.ref.uses(column) || m.rel.Guard.uses(column)
}

// shown says whether the system column is among the columns of the relation.
func (m *merge) shown(name string) bool {
	switch {
	case !m.rel.System:
		return false
	case name == row.ColSeq:
		return m.ref.seq
	case name == row.ColDeleted:
		return !m.ref.bare || m.ref.deleted
	}
	return !m.ref.bare
}

// fromFiles writes FROM and the files.
func (m *merge) fromFiles(files []*mergeFile) {
	same := true
	paths := make([]row.Value, len(files))
	for i, f := range files {
		same = same && (f.Schema == nil || f.Schema.Version == m.rel.Schema.Version)
		paths[i] = row.TextValue(f.path)
	}
	m.out.WriteString(" FROM read_parquet(" + m.late(row.ListValue(paths)) + ", hive_partitioning = false")
	if m.fileNames {
		m.out.WriteString(", filename = '" + fileColumn + "'")
	}
	if !same {
		m.out.WriteString(", schema = MAP {")
		for _, c := range m.rel.Schema.Columns {
			if !m.named(c.Name) && !slices.Contains(m.rel.Schema.Key, c.ID) {
				continue
			}
			m.field(c.ID, c.Name, c.Type, c.Initial)
			m.out.WriteString(", ")
		}
		m.field(row.IDSeq, row.ColSeq, row.Type{Kind: row.BigInt}, row.NullValue)
		m.out.WriteString(", ")
		m.field(row.IDUpdated, row.ColUpdated, row.Type{Kind: row.Timestamp}, row.NullValue)
		m.out.WriteString(", ")
		m.field(row.IDDeleted, row.ColDeleted, row.Type{Kind: row.Boolean}, row.NullValue)
		m.out.WriteString("}")
	}
	m.out.WriteString(")")
}

// field writes one entry of the map from field ids to columns. Files without the
// field give the initial value. All entries have it in one type, text.
func (m *merge) field(id row.ColumnID, name string, t row.Type, initial row.Value) {
	typ := t.String()
	switch {
	case t.Kind == row.Embedding:
		typ = "FLOAT[]"
	case t.Kind == row.List && t.Elem == row.JSON:
		typ = "VARCHAR[]" // a text is cast to JSON[] as a whole, without the quotes of a list
	}
	value := "NULL"
	if !initial.IsNull() {
		value = quote(castText(initial))
	}
	m.out.WriteString(strconv.Itoa(int(id)) + ": {name: " + quote(name) + ", type: " + quote(typ) + ", default_value: " + value + "}")
}

// rows reads buffered rows.
func (m *merge) rows(hot Hot, system bool) {
	if hot == nil {
		hot = one{}
	}
	src := hotSource(m.rel, hot, m.from, m.to, m.ref.deleted || m.rel.ShowDeleted || !system)
	m.columns("")
	m.out.WriteString(" FROM " + scanFunction + "(" + strconv.Itoa(m.addSource(src)) + ")")
}

func (m *merge) addSource(s source) int {
	*m.sources = append(*m.sources, s)
	return len(*m.sources) - 1
}
