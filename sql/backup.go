package sql

import "strconv"

// Statements that copy rows to or from a place of the operator's.
type (
	// Export is EXPORT (query) TO 'url' [WITH (format = 'csv')].
	Export struct {
		span
		Query   Fragment
		URL     string
		URLPos  int
		Options map[string]string // keys in lower case
	}
	// Backup is BACKUP DATABASE n TO 'url'.
	Backup struct {
		span
		Namespace string
		Pos       int // of the name
		URL       string
		URLPos    int
	}
	// ShowBackup is SHOW BACKUP 'url'.
	ShowBackup struct {
		span
		URL    string
		URLPos int
	}
	// DropBackup is DROP BACKUP DATABASE n FROM 'url' {AT number | KEEP count}.
	DropBackup struct {
		span
		Namespace string
		URL       string
		URLPos    int
		Number    uint64 // of the backup, 0 if Keep says what goes
		Keep      int    // of the newest ones
	}
	// Restore is RESTORE DATABASE n FROM 'url' [AT number] [AS other].
	Restore struct {
		span
		Namespace string
		URL       string
		URLPos    int
		Number    uint64 // of the backup, 0 for the newest
		As        string // the name of the restored namespace, Namespace if nothing else is said
		AsPos     int
	}
	// ForgetUser is FORGET USER 'id'.
	ForgetUser struct {
		span
		User string
		Pos  int
	}
	// ExportUser is EXPORT USER 'id' TO 'url' [WITH (format = 'csv')].
	ExportUser struct {
		span
		User    string
		Pos     int
		URL     string
		URLPos  int
		Options map[string]string // keys in lower case
	}
)

// Verb is "EXPORT".
func (*Export) Verb() string { return "EXPORT" }

// Verb is "BACKUP DATABASE".
func (*Backup) Verb() string { return "BACKUP DATABASE" }

// Verb is "SHOW BACKUP".
func (*ShowBackup) Verb() string { return "SHOW BACKUP" }

// Verb is "DROP BACKUP".
func (*DropBackup) Verb() string { return "DROP BACKUP" }

// Verb is "RESTORE DATABASE".
func (*Restore) Verb() string { return "RESTORE DATABASE" }

// Verb is "FORGET USER".
func (*ForgetUser) Verb() string { return "FORGET USER" }

// Verb is "EXPORT USER".
func (*ExportUser) Verb() string { return "EXPORT USER" }

const placeHint = "the 'url' of a place: 's3://bucket/path' or 'file:///path'"

// export parses what follows EXPORT, from ( or USER on.
func (p *parser) export() (Statement, error) {
	if p.accept("USER") {
		return p.exportUser()
	}
	if err := p.expectSym('('); err != nil {
		return nil, err
	}
	if !p.startsQuery() {
		return nil, p.unexpected("SELECT")
	}
	if p.is("WITH") {
		if verb := p.verbBehindWith(); verb != "" {
			return nil, p.syntax("found "+verb+" in EXPORT, expected a query", "")
		}
	}
	s := &Export{}
	var err error
	if s.Query, err = p.fragment("a query", nothing); err != nil {
		return nil, err
	}
	if err = p.expectSym(')'); err != nil {
		return nil, err
	}
	s.URL, s.URLPos, s.Options, err = p.destination()
	return s, err
}

func (p *parser) exportUser() (Statement, error) {
	s := &ExportUser{}
	var err error
	if s.User, s.Pos, err = p.userID(); err != nil {
		return nil, err
	}
	s.URL, s.URLPos, s.Options, err = p.destination()
	return s, err
}

// destination parses TO 'url' [WITH (…)].
func (p *parser) destination() (url string, pos int, opts map[string]string, err error) {
	if err = p.expect("TO"); err != nil {
		return "", 0, nil, err
	}
	if url, pos, err = p.str(placeHint); err != nil || !p.accept("WITH") {
		return url, pos, nil, err
	}
	o, err := p.options()
	return url, pos, o.strings(), err
}

// forget parses what follows FORGET.
func (p *parser) forget() (Statement, error) {
	if err := p.expect("USER"); err != nil {
		return nil, err
	}
	s := &ForgetUser{}
	var err error
	s.User, s.Pos, err = p.userID()
	return s, err
}

// backup parses what follows BACKUP.
func (p *parser) backup() (Statement, error) {
	s := &Backup{}
	var err error
	if s.Namespace, s.Pos, err = p.database(); err != nil {
		return nil, err
	}
	if err = p.expect("TO"); err != nil {
		return nil, err
	}
	s.URL, s.URLPos, err = p.str(placeHint)
	return s, err
}

// restore parses what follows RESTORE.
func (p *parser) restore() (Statement, error) {
	s := &Restore{}
	var err error
	if s.Namespace, s.AsPos, err = p.database(); err != nil {
		return nil, err
	}
	if err = p.expect("FROM"); err != nil {
		return nil, err
	}
	if s.URL, s.URLPos, err = p.str(placeHint); err != nil {
		return nil, err
	}
	s.As = s.Namespace
	if p.accept("AT") {
		if s.Number, err = p.backupNumber("the number of a backup"); err != nil {
			return nil, err
		}
	}
	if p.accept("AS") {
		s.As, s.AsPos, err = p.newName("a namespace")
	}
	return s, err
}

// backupNumber parses a number from 1 on.
func (p *parser) backupNumber(what string) (uint64, error) {
	n, err := uint64(0), error(nil)
	if p.tok.kind == tokNumber {
		n, err = strconv.ParseUint(p.raw(), 10, 63)
	}
	if p.tok.kind != tokNumber || err != nil || n == 0 {
		return 0, p.errorAt(p.tok.start, CodeSyntax, "found "+p.found()+", expected "+what, "SHOW BACKUP lists them")
	}
	p.advance()
	return n, nil
}

// dropBackup parses what follows DROP BACKUP.
func (p *parser) dropBackup() (Statement, error) {
	s := &DropBackup{}
	var err error
	if s.Namespace, _, err = p.database(); err != nil {
		return nil, err
	}
	if err = p.expect("FROM"); err != nil {
		return nil, err
	}
	if s.URL, s.URLPos, err = p.str(placeHint); err != nil {
		return nil, err
	}
	switch {
	case p.accept("AT"):
		s.Number, err = p.backupNumber("the number of a backup")
	case p.accept("KEEP"):
		var n uint64
		n, err = p.backupNumber("how many backups stay")
		s.Keep = int(n)
	default:
		return nil, p.unexpected("AT", "KEEP")
	}
	return s, err
}

// database parses DATABASE n or NAMESPACE n.
func (p *parser) database() (name string, pos int, err error) {
	if !p.accept("NAMESPACE") && !p.accept("DATABASE") {
		return "", 0, p.unexpected("DATABASE")
	}
	return p.name("a namespace")
}
