package query

// A TableRef is a base table as the statement names it.
type TableRef struct {
	Namespace string // "" = unqualified
	Name      string
	Pos       int // byte offset of its first mention
}

// A Plan is a statement that passed the gate.
type Plan struct {
	text   string
	tables []TableRef
	params int
}

// Tables are the distinct base tables.
func (p *Plan) Tables() []TableRef { return p.tables }

// Params is the highest $n used.
func (p *Plan) Params() int { return p.params }
