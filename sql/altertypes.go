package sql

import "time"

// AlterTable is ALTER [USER|SHARED|STREAM] TABLE [IF EXISTS] t action [, action …].
// Its actions happen together or not at all.
type AlterTable struct {
	span
	Table    Name
	Type     string // "" if the statement does not say
	IfExists bool
	Actions  []AlterAction
}

// Verb is "ALTER TABLE".
func (*AlterTable) Verb() string { return "ALTER TABLE" }

// An AlterKind says what an [AlterAction] does.
type AlterKind uint8

const (
	AddColumn    AlterKind = iota // ADD [COLUMN] [IF NOT EXISTS] Column
	DropColumn                    // DROP [COLUMN] [IF EXISTS] Column.Name
	RenameColumn                  // RENAME [COLUMN] Column.Name TO NewName
	ModifyColumn                  // MODIFY [COLUMN] Column.Name Column.Type, also ALTER [COLUMN] c [SET DATA] TYPE t
	SetOptions                    // SET (option = value, …)
)

// An AlterAction is one change of a table's definition.
type AlterAction struct {
	Kind        AlterKind
	Pos         int       // of its first word
	Column      ColumnDef // of MODIFY only Name, Type and Pos; of DROP and RENAME only Name and Pos
	IfNotExists bool      // ADD
	IfExists    bool      // DROP
	NewName     string    // RENAME
	NewPos      int       // of NewName

	// SET: like CREATE TABLE, the flush policy apart from the other options.
	HasFlush      bool
	FlushRows     int
	FlushInterval time.Duration
	Options       map[string]string
}
