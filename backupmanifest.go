package kalamdb

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"kalamdb/catalog"
	"kalamdb/lake"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// In the place of a backup:
//
//	_kalamdb/backup/<namespace>/<20 digits n>.json                    one backup: {"sum":"<SHA-256 of the rest>","backup":{…}}
//	users/<user>/<namespace>/<table>/batch-<first>-<last>-<hash>.parquet
//	shared/<namespace>/<table>/batch-<first>-<last>-<hash>.parquet    the rows of all backups
//
// Files are named by their content and never change, so a later backup only names those
// that an earlier one has copied. Deleting a manifest deletes that backup; its files that no
// other manifest names go by DROP BACKUP.
const (
	backupFolder  = storagelocations.MetaFolder + "/backup/"
	backupVersion = 1
	backupTries   = 10 // to find a free number
)

// A backupManifest is all that there is to know about one backup.
type backupManifest struct {
	Version   int                `json:"v"`
	Number    uint64             `json:"n"`
	Namespace string             `json:"namespace"`
	Options   map[string]string  `json:"options,omitempty"`
	Time      time.Time          `json:"time"`
	Seq       row.Seq            `json:"seq"` // every change up to it is in the backup
	Node      string             `json:"node"`
	Tables    []backupTableEntry `json:"tables"`
}

// A backupTableEntry is a table with all its schema versions; a STREAM table has no rows.
type backupTableEntry struct {
	Table      json.RawMessage        `json:"table"` // as in the catalog
	Partitions []lake.CopiedPartition `json:"partitions"`
}

type signedManifest struct {
	Sum    string          `json:"sum"`
	Backup json.RawMessage `json:"backup"`
}

// A backupID names a manifest.
type backupID struct {
	namespace string
	number    uint64
}

func (b backupID) name() string {
	return fmt.Sprintf("%s%s/%020d.json", backupFolder, b.namespace, b.number)
}

// backupsAt lists the backups of a namespace, of all if it is "", by name and number.
func backupsAt(ctx context.Context, at storagelocations.Bucket, namespace string) ([]backupID, error) {
	prefix := backupFolder
	if namespace != "" {
		prefix += namespace + "/"
	}
	var list []backupID
	for info, err := range at.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		n, file, ok := strings.Cut(strings.TrimPrefix(info.Name, backupFolder), "/")
		number, err := strconv.ParseUint(strings.TrimSuffix(file, ".json"), 10, 64)
		if b := (backupID{n, number}); ok && err == nil && b.name() == info.Name {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b backupID) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), cmp.Compare(a.number, b.number))
	})
	return list, nil
}

// put gives m the next number and writes it: from here on there is the backup.
func (m *backupManifest) put(ctx context.Context, to storagelocations.Bucket) error {
	for range backupTries {
		list, err := backupsAt(ctx, to, m.Namespace)
		if err != nil {
			return err
		}
		m.Number = 1
		if len(list) > 0 {
			m.Number = list[len(list)-1].number + 1
		}
		inner, err := json.Marshal(m)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(inner)
		body, err := json.Marshal(signedManifest{hex.EncodeToString(sum[:]), inner})
		if err != nil {
			return err
		}
		_, err = to.Put(ctx, backupID{m.Namespace, m.Number}.name(), body, storagelocations.Cond{IfNoneMatch: true})
		if !errors.Is(err, storagelocations.ErrPrecondition) {
			return err
		}
	}
	return fail(CodeConflict, "other backups of %s to the same place keep taking the number", m.Namespace).details("try again")
}

// readBackup reads and checks a manifest.
func readBackup(ctx context.Context, at storagelocations.Bucket, b backupID) (*backupManifest, error) {
	r, _, err := at.Get(ctx, b.name())
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	var signed signedManifest
	m := &backupManifest{}
	damaged := func(why string) error {
		return fail(CodeInvalidValue, "the backup %s is damaged: %s", b.name(), why)
	}
	if err := json.Unmarshal(body, &signed); err != nil {
		return nil, damaged(err.Error())
	}
	if sum := sha256.Sum256(signed.Backup); hex.EncodeToString(sum[:]) != signed.Sum {
		return nil, damaged("its checksum is another one")
	}
	if err := json.Unmarshal(signed.Backup, m); err != nil {
		return nil, damaged(err.Error())
	}
	if m.Version != backupVersion {
		return nil, fail(CodeInvalidValue, "the backup %s has the format %d, this server knows %d", b.name(), m.Version, backupVersion)
	}
	if m.Namespace != b.namespace || m.Number != b.number {
		return nil, damaged(fmt.Sprintf("it is number %d of %s", m.Number, m.Namespace))
	}
	return m, nil
}

// tables are the tables of m.
func (m *backupManifest) tables() ([]*catalog.Table, error) {
	list := make([]*catalog.Table, len(m.Tables))
	for i := range m.Tables {
		var err error
		if list[i], err = catalog.UnmarshalTable(m.Tables[i].Table); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// maxSeq is the largest Seq of a row in m.
func (m *backupManifest) maxSeq() row.Seq {
	seq := m.Seq
	for i := range m.Tables {
		for _, p := range m.Tables[i].Partitions {
			seq = max(seq, p.Through)
		}
	}
	return seq
}

// totals are the sums over all tables.
func (m *backupManifest) totals() (partitions, files, rows, bytes int64) {
	for i := range m.Tables {
		partitions += int64(len(m.Tables[i].Partitions))
		for _, p := range m.Tables[i].Partitions {
			files += int64(len(p.Files))
			for _, f := range p.Files {
				rows, bytes = rows+f.Rows, bytes+f.Bytes
			}
		}
	}
	return partitions, files, rows, bytes
}

func (m *backupManifest) summary() string {
	partitions, files, rows, bytes := m.totals()
	return fmt.Sprintf("%d tables, %d partitions, %d files, %d rows, %d bytes", len(m.Tables), partitions, files, rows, bytes)
}

// backupTable shows backups. rows counts every version of a row that is in a file.
func backupTable(all []*backupManifest) Result {
	res := Result{Rows: [][]row.Value{}, Columns: []Column{{"namespace", "VARCHAR"}, {"number", "BIGINT"}, {"created_at", "TIMESTAMP"}, {"seq", "BIGINT"},
		{"tables", "BIGINT"}, {"partitions", "BIGINT"}, {"files", "BIGINT"}, {"rows", "BIGINT"}, {"bytes", "BIGINT"}}}
	for _, m := range all {
		values := []row.Value{row.TextValue(m.Namespace), row.IntValue(row.BigInt, int64(m.Number)), row.IntValue(row.Timestamp, m.Time.UnixMicro())}
		partitions, files, rows, bytes := m.totals()
		for _, n := range []int64{int64(m.Seq), int64(len(m.Tables)), partitions, files, rows, bytes} {
			values = append(values, row.IntValue(row.BigInt, n))
		}
		res.Rows = append(res.Rows, values)
	}
	return res
}
