package lake

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"golang.org/x/sync/errgroup"

	"kalamdb/catalog"
	"kalamdb/row"
	"kalamdb/storagelocations"
)

// A CopiedFile describes a Parquet file of a backup; its Name is in the place of the backup.
type CopiedFile struct{ fileEntry }

// A CopiedPartition is one partition in a backup.
type CopiedPartition struct {
	User    row.UserID   `json:"user,omitempty"`
	Through row.Seq      `json:"through"`
	Files   []CopiedFile `json:"files"`
}

// A CopyOut copies the rows of partitions to another place. It is safe for concurrent use.
type CopyOut struct {
	Lake *Lake
	To   storagelocations.Bucket
	Have map[string]int64 // the files that are there already, with their sizes

	mu           sync.Mutex // guards the counters below
	files, bytes int64
}

// Copied is how many files were copied, and their bytes; those that were there do not count.
func (o *CopyOut) Copied() (files, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.files, o.bytes
}

// backupName is where a file of a user goes in a backup, wherever it is in the lake: the
// default place, so that a backup is as readable as a bucket.
func backupName(c *catalog.Table, user row.UserID, name string) string {
	template := storagelocations.Template(storagelocations.DefaultShared)
	if c.Type == catalog.User {
		template = storagelocations.DefaultUser
	}
	return template.Expand(c.Ref.Namespace, c.Ref.Name, user) + "/" + path.Base(name)
}

// Partition copies files, which the caller has pinned, and writes the rows that scan
// yields, ascending by key, to files of their own.
func (o *CopyOut) Partition(ctx context.Context, c *catalog.Table, user row.UserID, files []*File, scan func(yield func(key []byte, r *row.Row) error) error) (CopiedPartition, error) {
	p := CopiedPartition{User: user, Files: []CopiedFile{}}
	t, err := o.Lake.known(ctx, c.Ref.ID)
	if err != nil {
		return p, err
	}
	add := func(e fileEntry) {
		p.Through = max(p.Through, e.MaxSeq)
		p.Files = append(p.Files, CopiedFile{e})
	}
	for _, f := range files {
		e := entryOf(f)
		e.Created = time.Time{}
		if f.pack != nil {
			if err := o.slice(ctx, c, f, &e); err != nil {
				return p, err
			}
			add(e)
			continue
		}
		e.Name = backupName(c, user, f.Name)
		if size, ok := o.Have[e.Name]; !ok || size != f.Bytes {
			b, err := o.Lake.bucket(f)
			if err != nil {
				return p, err
			}
			body, err := readChecked(ctx, b, f.Name, f.Checksum)
			if err != nil {
				return p, err
			}
			if err := o.put(ctx, e.Name, body); err != nil {
				return p, err
			}
		}
		add(e)
	}
	var writers []*writer // by schema version
	done := func(f *fileEntry, body []byte) error {
		f.Name = backupName(c, user, f.Name)
		add(*f)
		return o.put(ctx, f.Name, body)
	}
	err = scan(func(key []byte, r *row.Row) error {
		if r.Seq <= p.Through { // it may have been flushed since the moment, so that files has it too
			found, err := o.Lake.Find(ctx, &Manifest{Files: files}, c.Schema(), [][]byte{key})
			if err != nil {
				return err
			}
			if same := found[string(key)]; len(found) > 0 && same.Seq >= r.Seq {
				return nil
			}
		}
		for _, w := range writers {
			if w.layout.schema.Version == r.Schema {
				return w.write(key, r)
			}
		}
		s := c.SchemaAt(r.Schema)
		if s == nil {
			return corruptf("a row of schema version %d, which the table never had", r.Schema)
		}
		w := o.Lake.newWriter(t, user, s, done)
		writers = append(writers, w)
		return w.write(key, r)
	})
	if err != nil {
		return p, err
	}
	for _, w := range writers {
		if err := w.finish(); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (o *CopyOut) put(ctx context.Context, name string, body []byte) error {
	if _, err := o.To.Put(ctx, name, body, storagelocations.Cond{}); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files, o.bytes = o.files+1, o.bytes+int64(len(body))
	return nil
}

// slice copies the slice f of a pack as a file of its user.
func (o *CopyOut) slice(ctx context.Context, c *catalog.Table, f *File, e *fileEntry) error {
	local, release, err := o.Lake.Local(ctx, f)
	if err != nil {
		return err
	}
	defer release()
	body, err := os.ReadFile(local)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	e.Pack, e.Checksum, e.Bytes = nil, hex.EncodeToString(hash[:]), int64(len(body))
	e.Name = backupName(c, f.Partition.User, fmt.Sprintf("batch-%d-%d-%s.parquet", e.MinSeq, e.MaxSeq, e.Checksum[:16]))
	if size, ok := o.Have[e.Name]; ok && size == e.Bytes {
		return nil
	}
	return o.put(ctx, e.Name, body)
}

// readChecked gets a file and makes sure that it is what was written.
func readChecked(ctx context.Context, b storagelocations.Bucket, name, checksum string) ([]byte, error) {
	body, err := read(ctx, b, name)
	if err != nil {
		return nil, err
	}
	if hash := sha256.Sum256(body); hex.EncodeToString(hash[:]) != checksum {
		return nil, corruptf("%s: checksum %x, expected %s", name, hash, checksum)
	}
	return body, nil
}

// adoptRound is how many partitions are copied in and committed at once.
const adoptRound = 256

// Adopt makes the partitions of a backup in from the rows of c, which has none yet. Every file
// is checked against its checksum and gets the name and the id of c into its footer. progress
// is told how many partitions are done.
//
// The users are committed first and without files, so that whoever removes a c that was not
// completed knows where to look for files that no entry names.
func (l *Lake) Adopt(ctx context.Context, c *catalog.Table, parts []CopiedPartition, from storagelocations.Bucket, progress func(done int)) error {
	if err := l.AddTable(ctx, c); err != nil {
		return err
	}
	t := l.table(c.Ref.ID)
	if !t.lock(ctx.Done()) {
		return ctx.Err()
	}
	defer t.unlock()
	empty := make([]change, len(parts))
	for i, p := range parts {
		empty[i].User = p.User
	}
	if err := l.adopted(ctx, t, empty, wallClock()); err != nil {
		return err
	}
	for at := 0; at < len(parts); at += adoptRound {
		round := parts[at:min(at+adoptRound, len(parts))]
		start := wallClock()
		changes := make([]change, len(round))
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(l.opts.Parallel)
		for i := range round {
			g.Go(func() (err error) {
				changes[i], err = l.adopt(gctx, t, &round[i], from)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		if err := l.adopted(ctx, t, changes, start); err != nil {
			return err
		}
		if progress != nil {
			progress(at + len(round))
		}
	}
	return nil
}

// adopted commits changes that were begun at start. The caller holds busy.
func (l *Lake) adopted(ctx context.Context, t *table, changes []change, start time.Time) error {
	sortChanges(changes)
	for _, part := range splitChanges(changes) {
		for {
			if err := l.verify(ctx, t); err != nil {
				return err
			}
			if took := wallClock().Sub(start); took > l.opts.Grace/2 {
				return fmt.Errorf("%d partitions took %s, longer than half of the grace of %s for unreferenced files", len(changes), took, l.opts.Grace)
			}
			_, err := l.commit(ctx, t, part)
			if err == nil {
				break
			}
			if !errors.Is(err, errRetry) {
				return err
			}
		}
	}
	return nil
}

// adopt copies the files of one partition in.
func (l *Lake) adopt(ctx context.Context, t *table, p *CopiedPartition, from storagelocations.Bucket) (change, error) {
	c := change{User: p.User, Through: p.Through}
	for _, f := range p.Files {
		body, err := readChecked(ctx, from, f.Name, f.Checksum)
		if err != nil {
			return c, err
		}
		if body, err = retag(body, t); err != nil {
			return c, fmt.Errorf("%s: %w", f.Name, err)
		}
		e := f.fileEntry
		hash := sha256.Sum256(body)
		e.Checksum, e.Bytes = hex.EncodeToString(hash[:]), int64(len(body))
		e.Name = t.fileName(p.User, fmt.Sprintf("batch-%d-%d-%s.parquet", e.MinSeq, e.MaxSeq, e.Checksum[:16]))
		if _, err := t.bucket.Put(ctx, e.Name, body, storagelocations.Cond{}); err != nil {
			return c, err
		}
		c.Added = append(c.Added, e)
	}
	return c, nil
}

const parquetMagic = "PAR1"

// retag is the Parquet file body with the name and id of t in its footer. Everything
// before the footer stays as it is.
func retag(body []byte, t *table) ([]byte, error) {
	meta, at, err := splitFooter(body)
	if err != nil {
		return nil, err
	}
	for i := range meta.KeyValueMetadata {
		switch kv := &meta.KeyValueMetadata[i]; kv.Key {
		case "kalamdb.table":
			kv.Value = t.ref.String()
		case metaTableID:
			kv.Value = tableID(t.ref.ID)
		}
	}
	return withFooter(slices.Clone(body[:at]), meta)
}

// splitFooter is the footer of a Parquet file, which begins at at.
func splitFooter(body []byte) (meta *format.FileMetaData, at int, err error) {
	n := len(body)
	if n < 12 || string(body[n-4:]) != parquetMagic {
		return nil, 0, corruptf("no Parquet file")
	}
	size := int(binary.LittleEndian.Uint32(body[n-8:]))
	if size > n-12 {
		return nil, 0, corruptf("a footer of %d bytes in a file of %d", size, n)
	}
	meta = &format.FileMetaData{}
	if err := thrift.Unmarshal(&thrift.CompactProtocol{}, body[n-8-size:n-8], meta); err != nil {
		return nil, 0, corruptf("footer: %v", err)
	}
	return meta, n - 8 - size, nil
}

// withFooter appends a footer to the rest of a Parquet file.
func withFooter(body []byte, meta *format.FileMetaData) ([]byte, error) {
	footer, err := thrift.Marshal(&thrift.CompactProtocol{}, meta)
	if err != nil {
		return nil, fmt.Errorf("footer: %w", err)
	}
	body = append(body, footer...)
	body = binary.LittleEndian.AppendUint32(body, uint32(len(footer)))
	return append(body, parquetMagic...), nil
}
