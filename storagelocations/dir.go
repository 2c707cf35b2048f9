package storagelocations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// A dir is a folder of this machine as a bucket: each object is the file of its name.
//
// A put has these steps. 1. The body is in a file in tempFolder. 2. That file is
// durable (fsync). 3. It has its name, by link(2) if no object may have had it and
// by rename(2) otherwise: the only visible step. 4. The name is durable (fsync of the
// folder). A crash before 3 leaves a temporary file, which NewDir removes some day.
//
// The ETag is the size and the modification time, which every put sets to a new
// nanosecond. Comparing it and renaming happens under an in-process mutex and a file
// lock, so of two processes too only one wins.
type dir struct {
	root string

	// foldsCase: the file system takes "Alice" and "alice" for one file. Then a put
	// is refused whose name differs from an existing one only in case: better an
	// error than two users in one folder.
	foldsCase bool

	swap sync.Mutex // held while an ETag is compared and the file replaced or removed

	// folders is held for reading while a put makes its folder and puts the object there,
	// and for writing while a Delete removes empty folders. swap is taken after it.
	folders sync.RWMutex

	mu     sync.Mutex               // guards making
	making map[string]chan struct{} // folders that exist perhaps but not durably; closed when they do
}

// folderTriesMax bounds how often a put makes its folder again after a Delete of another
// process has removed it.
const folderTriesMax = 10

// NewDir opens the folder root, an absolute path, as a bucket and creates it if
// need be.
func NewDir(root string) (Bucket, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("folder %q: expected an absolute path", root)
	}
	d := &dir{root: filepath.Clean(root), making: map[string]chan struct{}{}}
	temp := filepath.Join(d.root, tempFolder)
	if err := makeDurable(temp); err != nil {
		return nil, err
	}
	if err := removeOld(temp); err != nil {
		return nil, err
	}
	probe, err := d.writeTemp(nil)
	if err != nil {
		return nil, err
	}
	_, err = os.Lstat(filepath.Join(temp, strings.ToUpper(filepath.Base(probe))))
	d.foldsCase = err == nil
	return d, os.Remove(probe)
}

func (d *dir) file(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

func (d *dir) open(ctx context.Context, name string) (*os.File, fs.FileInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(d.file(name))
	if absent(err) {
		err = ErrNotExist
	}
	if err != nil {
		return nil, nil, wrap("get", name, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotExist // a folder is no object
	}
	if err != nil {
		f.Close()
		return nil, nil, wrap("get", name, err)
	}
	return f, info, nil
}

// wrap says what failed with the name of the object in the place of paths.
func wrap(verb, name string, err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	if errors.As(err, &pe) {
		err = pe.Err
	} else if errors.As(err, &le) {
		err = le.Err
	}
	return fmt.Errorf("%s %s: %w", verb, name, err)
}

// absent says that err means that there is no such file. With a file "a" there is none "a/b" either.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

func dirInfo(name string, info fs.FileInfo) Info {
	t := info.ModTime()
	return Info{
		Name: name, Size: info.Size(), Modified: t,
		ETag: strconv.FormatInt(info.Size(), 36) + "-" + strconv.FormatInt(t.UnixNano(), 36),
	}
}

func (d *dir) Get(ctx context.Context, name string) (io.ReadCloser, Info, error) {
	if err := checkName(name); err != nil {
		return nil, Info{}, err
	}
	f, info, err := d.open(ctx, name)
	if err != nil {
		return nil, Info{}, err
	}
	return f, dirInfo(name, info), nil
}

func (d *dir) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := checkRange(name, off, n); err != nil {
		return nil, err
	}
	f, _, err := d.open(ctx, name)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, off, n), f}, nil
}

func (d *dir) Put(ctx context.Context, name string, body []byte, cond Cond) (Info, error) {
	if err := checkPut(name, cond); err != nil {
		return Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	temp, err := d.writeTemp(body)
	if err != nil {
		return Info{}, wrap("put", name, err)
	}
	info, err := os.Stat(temp) // before it has its name: a later put may replace it
	if err == nil {
		err = d.place(temp, name, cond)
	}
	if removeErr := os.Remove(temp); err == nil && !absent(removeErr) { // a rename has taken it already
		err = removeErr
	}
	if err != nil {
		return Info{}, wrap("put", name, err)
	}
	return dirInfo(name, info), nil
}

// place gives temp its name in a folder that exists, durably.
func (d *dir) place(temp, name string, cond Cond) error {
	folder := filepath.Dir(d.file(name))
	for try := 1; ; try++ {
		err := d.giveInFolder(temp, folder, name, cond)
		if errors.Is(err, fs.ErrNotExist) && try < folderTriesMax {
			continue // the folder is gone again
		}
		if err != nil {
			return err
		}
		if err = syncFolder(folder); absent(err) {
			return nil // a Delete has removed the object already
		}
		return err
	}
}

func (d *dir) giveInFolder(temp, folder, name string, cond Cond) error {
	d.folders.RLock()
	defer d.folders.RUnlock()
	if cond.IfMatch == "" { // otherwise the object exists, or the condition does not hold
		if err := d.ensureFolder(folder); err != nil {
			return err
		}
	}
	return d.give(temp, name, cond)
}

// give moves temp to name if cond holds.
func (d *dir) give(temp, name string, cond Cond) error {
	final := d.file(name)
	if d.foldsCase {
		if err := differsOnlyInCase(filepath.Dir(final), filepath.Base(final)); err != nil {
			return err
		}
	}
	if cond.IfNoneMatch {
		err := os.Link(temp, final)
		if err == nil {
			return nil
		}
		if errors.Is(err, fs.ErrExist) {
			return ErrPrecondition
		}
		if !errors.Is(err, syscall.EPERM) && !errors.Is(err, errors.ErrUnsupported) {
			return err
		} // a file system without hard links
	}
	return d.swapping(func() error {
		switch info, err := os.Lstat(final); {
		case err == nil && (cond.IfNoneMatch || cond.IfMatch != "" && dirInfo(name, info).ETag != cond.IfMatch):
			return ErrPrecondition
		case cond.IfMatch != "" && absent(err):
			return ErrPrecondition
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		return os.Rename(temp, final)
	})
}

func (d *dir) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if listable(prefix) {
			d.walk(ctx, prefix[:strings.LastIndexByte(prefix, '/')+1], prefix, yield)
		}
	}
}

// walk yields the objects below folder ("" or ending in a slash) that start with
// prefix, and says whether to go on. In the order of names a folder sorts as if
// its name ended in a slash.
func (d *dir) walk(ctx context.Context, folder, prefix string, yield func(Info, error) bool) bool {
	stop := func(err error) bool {
		yield(Info{}, err)
		return false
	}
	if err := ctx.Err(); err != nil {
		return stop(err)
	}
	entries, err := os.ReadDir(d.file(folder))
	if absent(err) {
		return true
	}
	if err != nil {
		return stop(wrap("list", folder, err))
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := folder + e.Name()
		if e.IsDir() {
			name += "/"
		}
		if e.Name() != tempFolder && (strings.HasPrefix(name, prefix) || strings.HasPrefix(prefix, name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			if !d.walk(ctx, name, prefix, yield) {
				return false
			}
			continue
		}
		info, err := os.Stat(d.file(name))
		switch {
		case absent(err), !strings.HasPrefix(name, prefix), checkName(name) != nil, err == nil && !info.Mode().IsRegular():
			continue // removed since, or put there by someone else
		case err != nil:
			return stop(wrap("list", name, err))
		}
		if !yield(dirInfo(name, info), nil) {
			return false
		}
	}
	return true
}

func (d *dir) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	final := d.file(name)
	err := d.swapping(func() error {
		if info, err := os.Lstat(final); err == nil && info.IsDir() {
			return fs.ErrNotExist // a folder is no object
		}
		return os.Remove(final)
	})
	if absent(err) {
		return nil
	}
	if err == nil {
		err = syncFolder(filepath.Dir(final))
	}
	if err != nil && !absent(err) {
		return wrap("delete", name, err)
	}
	d.folders.Lock()
	defer d.folders.Unlock()
	// Folders go with their last object. Remove refuses one that is not empty.
	for folder := filepath.Dir(final); folder != d.root && os.Remove(folder) == nil; {
		folder = filepath.Dir(folder)
	}
	return nil
}

func (d *dir) LocalPath(name string) (string, bool) {
	if checkName(name) != nil {
		return "", false
	}
	return d.file(name), true
}

func (d *dir) URL() string { return "file://" + filepath.ToSlash(d.root) }
