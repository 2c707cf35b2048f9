package sql

// alterTable parses what follows ALTER … TABLE; kind is "" for plain ALTER TABLE.
func (p *parser) alterTable(kind string) (Statement, error) { return p.later("ALTER TABLE") }
