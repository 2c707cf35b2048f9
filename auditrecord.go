package kalamdb

import (
	"time"

	"kalamdb/audit"
	"kalamdb/row"
)

// record makes an entry of the audit log durable that says that the caller of s does
// action, in the name of asUser if it is not "". Without the entry s must not run.
func (db *DB) record(s *statement, action string, asUser row.UserID) error {
	err := db.audit.Append(audit.Entry{
		Time: time.Now().UTC(), Action: action, User: string(s.req.As.User), Role: s.req.As.Role.String(), AsUser: string(asUser),
		Statement: s.Source(), RequestID: s.req.RequestID, Remote: s.req.Remote,
	})
	if err == nil {
		return nil
	}
	e := fail(CodeNotReady, "the audit log cannot be written, so the statement was not run").at(s.Start())
	e.Cause = err
	db.log.Error("audit log", "err", err)
	return e
}
