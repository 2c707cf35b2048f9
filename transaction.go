package kalamdb

import (
	"kalamdb/sql"
)

// refuseTransaction answers BEGIN, COMMIT and ROLLBACK.
func refuseTransaction(s sql.Statement) error {
	return fail(CodeNotSupportedYet, "%s is not supported yet", s.Verb()).at(s.Start())
}
