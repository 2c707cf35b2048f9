package sql

import "strings"

// Statements about storage locations.
type (
	// CreateLocation is CREATE STORAGE LOCATION [IF NOT EXISTS] name WITH (path = 's3://…', …).
	CreateLocation struct {
		span
		Name        string
		Pos         int // of the name
		IfNotExists bool
		Options     []Option
	}
	// AlterLocation is ALTER STORAGE LOCATION name SET (path = '…', …).
	AlterLocation struct {
		span
		Name    string
		Pos     int
		Options []Option
	}
	// DropLocation is DROP STORAGE LOCATION [IF EXISTS] name.
	DropLocation struct {
		span
		Name     string
		Pos      int
		IfExists bool
	}
)

// An Option is one k = v.
type Option struct {
	Key   string // in lower case
	Value string
	Pos   int // of the value
}

// Verb is "CREATE STORAGE LOCATION".
func (*CreateLocation) Verb() string { return "CREATE STORAGE LOCATION" }

// Verb is "ALTER STORAGE LOCATION".
func (*AlterLocation) Verb() string { return "ALTER STORAGE LOCATION" }

// Verb is "DROP STORAGE LOCATION".
func (*DropLocation) Verb() string { return "DROP STORAGE LOCATION" }

// locationName reads the name of a storage location: a word, quoted or not, or a text,
// as LOCATION REFERENCE takes it.
func (p *parser) locationName() (string, int, error) {
	const what = "the name of a storage location"
	if p.tok.kind == tokWord || p.tok.kind == tokQuoted {
		return p.name(what)
	}
	name, pos, err := p.str(what)
	return strings.ToLower(name), pos, err
}

// locationOptions reads (k = v, …).
func (p *parser) locationOptions() ([]Option, error) {
	list, err := p.options()
	out := make([]Option, len(list))
	for i, o := range list {
		out[i] = Option{o.key, o.value, o.pos}
	}
	return out, err
}

// createLocation parses what follows CREATE.
func (p *parser) createLocation() (Statement, error) {
	s := &CreateLocation{}
	err := p.expect("STORAGE", "LOCATION")
	if err != nil {
		return nil, err
	}
	if s.IfNotExists, err = p.ifNotExists(); err != nil {
		return nil, err
	}
	if s.Name, s.Pos, err = p.locationName(); err != nil {
		return nil, err
	}
	if err = p.expect("WITH"); err != nil {
		return nil, err
	}
	s.Options, err = p.locationOptions()
	return s, err
}

// alterLocation parses what follows ALTER.
func (p *parser) alterLocation() (Statement, error) {
	s := &AlterLocation{}
	err := p.expect("STORAGE", "LOCATION")
	if err != nil {
		return nil, err
	}
	if s.Name, s.Pos, err = p.locationName(); err != nil {
		return nil, err
	}
	if err = p.expect("SET"); err != nil {
		return nil, err
	}
	s.Options, err = p.locationOptions()
	return s, err
}

// dropLocation parses what follows DROP.
func (p *parser) dropLocation() (Statement, error) {
	s := &DropLocation{}
	err := p.expect("STORAGE", "LOCATION")
	if err != nil {
		return nil, err
	}
	if s.IfExists, err = p.ifExists(); err != nil {
		return nil, err
	}
	s.Name, s.Pos, err = p.locationName()
	return s, err
}
