package storagelocations

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// makeDurable makes folder and the parents that are missing, and syncs them.
func makeDurable(folder string) error {
	var made []string
	for f := folder; ; f = filepath.Dir(f) {
		if _, err := os.Stat(f); err == nil || f == filepath.Dir(f) {
			break
		}
		made = append(made, f)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for _, f := range made {
		if err := syncFolder(filepath.Dir(f)); err != nil {
			return err
		}
	}
	return nil
}

// tempAgeMax is how old a temporary file is when surely no put is writing it.
const tempAgeMax = 24 * time.Hour

// removeOld removes what puts that crashed have left behind.
func removeOld(temp string) error {
	entries, err := os.ReadDir(temp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name() == lockFile || time.Since(info.ModTime()) < tempAgeMax {
			continue // gone already, or in use
		}
		if err := os.Remove(filepath.Join(temp, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

var lastNano atomic.Int64

// newNano is the time now, later than any it has returned.
func newNano() time.Time {
	for {
		last, now := lastNano.Load(), time.Now().UnixNano()
		if now <= last {
			now = last + 1
		}
		if lastNano.CompareAndSwap(last, now) {
			return time.Unix(0, now)
		}
	}
}

// writeTemp makes body durable in a new temporary file.
func (d *dir) writeTemp(body []byte) (path string, err error) {
	path = filepath.Join(d.root, tempFolder, strings.ToLower(rand.Text()))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if err == nil {
		now := newNano()
		err = os.Chtimes(path, now, now)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// swapping runs f while no other goroutine or process replaces or removes objects of d.
func (d *dir) swapping(f func() error) error {
	d.swap.Lock()
	defer d.swap.Unlock()
	unlock, err := lock(filepath.Join(d.root, tempFolder, lockFile))
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

const lockFile = "lock"

// ensureFolder makes folder, inside d.root, and its parents exist durably.
func (d *dir) ensureFolder(folder string) error {
	if folder == d.root {
		return nil
	}
	for {
		d.mu.Lock()
		made, busy := d.making[folder]
		if busy {
			d.mu.Unlock()
			<-made
			continue
		}
		// Whoever makes the folder registers first, so one that exists here is durable.
		if info, err := os.Lstat(folder); err == nil && info.IsDir() && !d.foldsCase {
			d.mu.Unlock()
			return nil
		}
		made = make(chan struct{})
		d.making[folder] = made
		d.mu.Unlock()
		err := d.makeFolder(folder)
		d.mu.Lock()
		delete(d.making, folder)
		close(made)
		d.mu.Unlock()
		return err
	}
}

func (d *dir) makeFolder(folder string) error {
	parent := filepath.Dir(folder)
	for try := 1; ; try++ {
		if err := d.ensureFolder(parent); err != nil {
			return err
		}
		if d.foldsCase {
			if err := differsOnlyInCase(parent, filepath.Base(folder)); err != nil {
				return err
			}
		}
		err := os.Mkdir(folder, 0o700)
		switch {
		case err == nil:
			return syncFolder(parent)
		case errors.Is(err, fs.ErrExist):
			return nil // if it is a file, the next step says so
		case !errors.Is(err, fs.ErrNotExist) || try == folderTriesMax:
			return err
		}
	}
}

// ErrCase says that a file system without upper and lower case would take the
// names of two objects for one.
var ErrCase = errors.New("the file system cannot tell upper from lower case")

func differsOnlyInCase(folder, name string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != name && strings.EqualFold(e.Name(), name) {
			return fmt.Errorf("%w: %q exists and %q is another name", ErrCase, e.Name(), name)
		}
	}
	return nil
}

func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there, and need not be
	}
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
