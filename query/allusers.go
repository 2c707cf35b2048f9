package query

import (
	"fmt"
	"strconv"
	"strings"

	"kalamdb/row"
)

// UserColumn is the first column of ALL_USERS(table): whose row it is.
const UserColumn = "_user_id"

// A UserRows is what one user has in a table.
type UserRows struct {
	User  string
	Hot   Hot // nil: no buffered rows
	Files []File
}

// joinedGroupsMax is how many groups of files that have to be joined ALL_USERS reads at
// once: each is an arm of its own in the statement, which takes memory by the arm.
const joinedGroupsMax = 500

// allUsers notes ALL_USERS(table), which looks like a table function.
func (g *gate) allUsers(n, f node) {
	args := f.list("children")
	expected := func() {
		g.refuse("SYNTAX_ERROR", n.pos(), "expected the name of one table, as in ALL_USERS(app.messages)")
	}
	if len(args) != 1 || args[0].str("class") != "COLUMN_REF" || args[0].str("alias") != "" || n["with_ordinality"] != nil {
		expected()
	}
	g.fields(f, map[string]field{"function_name": plain, "order_bys": orders}, expressionCommon, n.pos(), "children")
	names := args[0].names("column_names")
	i := g.tokenAt(f.pos())
	last := i + 2*len(names) + 1 // ALL_USERS ( a . b )
	if len(names) > 2 || i < 0 || last >= len(g.tokens) || g.word(i+1) != "(" || g.word(last) != ")" {
		expected()
	}
	for k, name := range names {
		if identifier(g.text, g.tokens[i+2+2*k]) != name {
			g.unknown(n.pos(), "this table name")
		}
	}
	namespace, name := "", names[len(names)-1]
	if len(names) == 2 {
		namespace = names[0]
	}
	r := &baseRef{start: f.pos(), nameStart: f.pos(), end: g.tokens[last].end}
	g.add(r, n, TableRef{Namespace: fold(namespace), Name: fold(name), Pos: args[0].pos(), AllUsers: true}, name)
}

// An owner is a file and the user it belongs to.
type owner struct{ path, user string }

// allUsers reads the rows of all users of the relation: the files that nothing reaches
// together, the buffered rows together, and every group of files with a join apart.
func (m *merge) allUsers(params []row.Value) error {
	var plain, dirty []*mergeFile
	var owners []owner
	var hots []UserRows
	type joinedGroup struct {
		user  string
		group *fileGroup
	}
	var joined []joinedGroup
	for _, u := range m.rel.Users {
		rel := *m.rel
		rel.Hot, rel.Files, rel.Users = u.Hot, u.Files, nil
		one := *m
		one.rel = &rel
		groups, hot, err := one.parts(params)
		if err != nil {
			return err
		}
		m.keys, m.from, m.to = one.keys, one.from, one.to
		m.narrow = m.narrow || one.narrow
		for _, g := range groups {
			if g.hasJoin() {
				joined = append(joined, joinedGroup{u.User, g})
				continue
			}
			f := g.files[0]
			owners = append(owners, owner{f.path, u.User})
			if f.Deleted == 0 || m.ref.deleted {
				plain = append(plain, f)
			} else {
				dirty = append(dirty, f)
			}
		}
		if hot != nil {
			hots = append(hots, UserRows{User: u.User, Hot: hot})
		}
	}
	if len(joined) > joinedGroupsMax {
		return &Error{Code: "TOO_LARGE", Pos: m.ref.start, Message: fmt.Sprintf("ALL_USERS finds %d groups of files with several versions of a row, the limit is %d", len(joined), joinedGroupsMax),
			Details: "flush and compact the table first"}
	}
	for _, files := range [][]*mergeFile{plain, dirty} {
		if len(files) == 0 {
			continue
		}
		m.user, m.fileNames = `o."user"`, true
		m.columns("f.")
		m.fromFiles(files)
		m.out.WriteString(" AS f JOIN " + scanFunction + "(" + strconv.Itoa(m.addSource(ownerSource(owners))) + `) AS o ON f."` + fileColumn + `" = o."file"`)
		if files[0].Deleted > 0 && !m.ref.deleted {
			m.out.WriteString(` WHERE NOT f."_deleted"`)
		}
		m.out.WriteString(" UNION ALL ")
		m.fileNames = false
	}
	for _, j := range joined {
		m.user = m.late(row.TextValue(j.user))
		m.joined(j.group)
		m.out.WriteString(" UNION ALL ")
	}
	m.user = `"` + UserColumn + `"`
	m.columns("")
	m.out.WriteString(" FROM " + scanFunction + "(" + strconv.Itoa(m.addSource(m.userSource(hots))) + ")")
	return nil
}

// fileColumn is the name of a file among its rows; no stored column can have it.
const fileColumn = "kalamdb file"

// ownerSource is the table of files and users.
func ownerSource(owners []owner) source {
	text := row.Type{Kind: row.Text}
	return source{
		columns: []scanColumn{{"file", text}, {"user", text}},
		rows:    len(owners),
		places:  []int{0, 1},
		next: func(after []byte, limit int, yield func([]byte, *row.Row)) (bool, error) {
			i := ordinal(after)
			for ; i < len(owners) && limit > 0; i, limit = i+1, limit-1 {
				yield([]byte(strconv.Itoa(i+1)), &row.Row{Values: []row.Value{row.TextValue(owners[i].path), row.TextValue(owners[i].user)}})
			}
			return i < len(owners), nil
		},
	}
}

// ordinal is how many rows lie before the one behind the key after.
func ordinal(after []byte) int {
	n, _ := strconv.Atoi(string(after)) // nil: none
	return n
}

// userSource is the buffered rows of several users, one after the other. Its keys are
// the number of the user, a point, and the key of the row.
func (m *merge) userSource(users []UserRows) source {
	all := hotSource(m.rel, nil, nil, nil, false)
	sources := make([]source, len(users))
	for i, u := range users {
		sources[i] = hotSource(m.rel, u.Hot, m.from, m.to, m.ref.deleted || m.rel.ShowDeleted)
		all.rows += sources[i].rows
	}
	width := len(m.rel.Schema.Columns)
	all.columns = append([]scanColumn{{UserColumn, row.Type{Kind: row.Text}}}, all.columns...)
	all.places = append([]int{width}, all.places...)
	all.next = func(after []byte, limit int, yield func([]byte, *row.Row)) (bool, error) {
		at, key := 0, []byte(nil)
		if number, rest, ok := strings.Cut(string(after), "."); ok {
			if at = ordinal([]byte(number)); rest != "" {
				key = []byte(rest)
			}
		}
		if at >= len(sources) {
			return false, nil
		}
		prefix := strconv.Itoa(at) + "."
		user := row.TextValue(users[at].User)
		more, err := sources[at].next(key, limit, func(key []byte, r *row.Row) {
			if r != nil {
				owned := *r
				owned.Values = append(r.Values[:width:width], user)
				r = &owned
			}
			yield(append([]byte(prefix), key...), r)
		})
		if !more {
			yield([]byte(strconv.Itoa(at+1)+"."), nil)
		}
		return more || at+1 < len(sources), err
	}
	return all
}
