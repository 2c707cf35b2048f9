package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"
)

// A folder of the log holds <number>.jsonl, 12 digits, ascending with time. Each line is
// the JSON of one Entry.
const filePattern = "[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9].jsonl"

// files are the files of a log. The last one is written to; its first size bytes are
// whole, durable lines and nothing else counts.
type files struct {
	dir    string
	names  []string // ascending
	last   *os.File // nil: none yet, or closed
	size   int64
	number uint64 // of the last file
	closed bool
}

func (f *files) open(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f.dir = dir
	found, err := filepath.Glob(filepath.Join(escapeGlob(dir), filePattern))
	if err != nil {
		return err
	}
	slices.Sort(found)
	f.names = found
	if len(found) == 0 {
		return nil
	}
	name := found[len(found)-1]
	if _, err := fmt.Sscanf(filepath.Base(name), "%d.jsonl", &f.number); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if f.last, err = os.OpenFile(name, os.O_RDWR, 0o600); err != nil {
		return err
	}
	return f.cutTail()
}

// escapeGlob keeps Glob from reading a pattern into the folder's own name.
func escapeGlob(dir string) string {
	var b bytes.Buffer
	for _, r := range dir {
		if bytes.ContainsRune([]byte(`*?[\`), r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// cutTail finds the end of the last whole line of the last file and cuts off the rest.
func (f *files) cutTail() error {
	body, err := io.ReadAll(f.last)
	if err != nil {
		return err
	}
	f.size = int64(bytes.LastIndexByte(body, '\n') + 1)
	if f.size == int64(len(body)) {
		return nil
	}
	return errors.Join(f.last.Truncate(f.size), f.last.Sync())
}

// append writes whole lines behind the last one. After an error none of them counts:
// what may be on disk of them is overwritten or cut off by the next call.
func (f *files) append(lines []byte, o Options) error {
	if f.closed {
		return ErrClosed
	}
	if f.last == nil || f.size > 0 && f.size+int64(len(lines)) > o.FileBytesMax {
		if err := f.rotate(o); err != nil {
			return err
		}
	}
	if _, err := f.last.WriteAt(lines, f.size); err != nil {
		return errors.Join(err, f.last.Truncate(f.size))
	}
	if err := f.last.Sync(); err != nil { // the commit point
		// After a failed fsync the kernel may have dropped the pages, so this file is no
		// place for the entries to come.
		err = errors.Join(err, f.last.Truncate(f.size), f.last.Close())
		f.last = nil
		return err
	}
	f.size += int64(len(lines))
	return nil
}

// rotate begins the next file, then drops the oldest ones.
func (f *files) rotate(o Options) error {
	name := filepath.Join(f.dir, fmt.Sprintf("%012d.jsonl", f.number+1))
	next, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	f.number++
	if err := syncDir(f.dir); err != nil {
		return errors.Join(err, next.Close())
	}
	if f.last != nil {
		err = f.last.Close()
	}
	f.last, f.size, f.names = next, 0, append(f.names, name)
	for len(f.names) > o.FilesMax {
		if removed := os.Remove(f.names[0]); removed != nil && !errors.Is(removed, os.ErrNotExist) {
			return errors.Join(err, removed)
		}
		f.names = f.names[1:]
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *files) close() error {
	f.closed = true
	if f.last == nil {
		return nil
	}
	err := f.last.Close()
	f.last = nil
	return err
}

// A snapshot is the log at one moment: its files, open, and how far the last one counts.
type snapshot struct {
	open []*os.File
	size int64
}

func (f *files) snapshot() (*snapshot, error) {
	s := &snapshot{size: f.size}
	for _, name := range f.names {
		file, err := os.Open(name)
		if err != nil {
			s.close()
			return nil, err
		}
		s.open = append(s.open, file)
	}
	return s, nil
}

func (s *snapshot) close() {
	for _, f := range s.open {
		_ = f.Close() // opened for reading
	}
}

func (s *snapshot) each(yield func(Entry) bool) error {
	var broken error
	for i, f := range s.open {
		var r io.Reader = f
		if i == len(s.open)-1 {
			r = io.LimitReader(f, s.size)
		}
		in := bufio.NewReaderSize(r, 64<<10)
		for line := 1; ; line++ {
			text, err := in.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			var e Entry
			if err := json.Unmarshal(text, &e); err != nil {
				if broken == nil {
					broken = fmt.Errorf("%s: line %d: %w", f.Name(), line, err)
				}
				continue
			}
			if !yield(e) {
				return broken
			}
		}
	}
	return broken
}

// cut is the longest whole beginning of s with at most n bytes.
func cut(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
