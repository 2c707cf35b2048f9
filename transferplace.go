package kalamdb

import (
	"context"
	"errors"
	"path"
	"path/filepath"
	"strings"

	"kalamdb/auth"
	"kalamdb/storagelocations"
)

// TransferOptions say where EXPORT, BACKUP and RESTORE may write and read, besides s3://.
type TransferOptions struct {
	// Folders of this machine that a dba may name by file:///folder/… or /folder/…; the role
	// system may name any. None is <DataDir>/transfer alone.
	Folders []string
	// FileBytesMax is about the size from which an export goes on in another file, and the
	// memory that one needs. 0 is 64 MiB.
	FileBytesMax int
}

const exportFileBytesDefault = 64 << 20

// complete checks o and fills in what is not said.
func (o TransferOptions) complete(dataDir string) (TransferOptions, error) {
	if o.FileBytesMax <= 0 {
		o.FileBytesMax = exportFileBytesDefault
	}
	folders := o.Folders
	if len(folders) == 0 {
		folders = []string{filepath.Join(dataDir, "transfer")}
	}
	o.Folders = nil
	for _, f := range folders {
		if !filepath.IsAbs(f) {
			return o, errors.New("transfer.folders: " + f + " is not an absolute path")
		}
		o.Folders = append(o.Folders, filepath.ToSlash(filepath.Clean(f)))
	}
	return o, nil
}

// A place is a folder outside of the storage, to which statements of a dba copy rows.
type place struct {
	storagelocations.Bucket
}

// place opens the folder at url for the caller of s. Who may name which folder:
//
//	s3://…                                   dba and above, with the server's credentials
//	a folder of Options.Transfer.Folders     dba and above
//	other folders of the server              system
//	the storage and the data directory       nobody: what is in there is the server's own
func (db *DB) place(ctx context.Context, s *statement, url string, pos int) (place, error) {
	folder, isFolder := strings.CutPrefix(url, "file://")
	if isFolder = isFolder || strings.HasPrefix(url, "/"); isFolder {
		if strings.Contains(folder, "..") || !strings.HasPrefix(folder, "/") {
			return place{}, fail(CodeInvalidLocation, "%q is no absolute path without ..", url).at(pos)
		}
		folder = path.Clean(folder)
		url = "file://" + folder
		if s.req.As.Role < auth.System && !within(db.transfer.Folders, folder) {
			return place{}, fail(CodeForbidden, "the server's folder %s is not open to the role %s", folder, s.req.As.Role).
				details("open are s3:// and the folders of the setting transfer.folders: " + strings.Join(db.transfer.Folders, ", ")).at(pos)
		}
	}
	url = strings.TrimRight(url, "/")
	if db.isOwn(url, folder, isFolder) {
		return place{}, fail(CodeForbidden, "%s is in the server's own storage", url).details("name a place outside of it").at(pos)
	}
	b, err := db.places.Bucket(ctx, url)
	if errors.Is(err, storagelocations.ErrURL) {
		return place{}, fail(CodeInvalidLocation, "%s", err).at(pos)
	}
	if err != nil {
		return place{}, db.unreachable(url, err).at(pos)
	}
	return place{b}, nil
}

// unreachable is the error of a place that does not answer as it should.
func (db *DB) unreachable(url string, err error) *Error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return asError(err)
	}
	e := fail(CodeStorage, "%s cannot be reached or used: %s", url, err)
	e.Cause = err
	return e
}

// isOwn says whether url, which is the given folder if isFolder, is in a storage of tables or in
// the data directory, but for the folders that are open.
func (db *DB) isOwn(url, folder string, isFolder bool) bool {
	own := []string{strings.TrimRight(db.bucket.URL(), "/")}
	for _, t := range db.catalog.Tables() {
		if t.Root != "" {
			own = append(own, strings.TrimRight(t.Root, "/"))
		}
	}
	if !isFolder {
		return within(own, url)
	}
	for i := range own {
		own[i] = resolved(strings.TrimPrefix(own[i], "file://"))
	}
	folder = resolved(folder)
	return within(own, folder) || db.inDataDir(folder, db.transfer.Folders)
}

// inDataDir says whether a resolved folder is in the data directory, but for those in it that
// are open.
func (db *DB) inDataDir(folder string, open []string) bool {
	dataDir := resolved(filepath.ToSlash(db.dataDir))
	if !within([]string{dataDir}, folder) {
		return false
	}
	for _, o := range open {
		if o = resolved(o); o != dataDir && within([]string{dataDir}, o) && within([]string{o}, folder) {
			return false
		}
	}
	return true
}

// refuseOwnFolder refuses the root of a location, or of a table with one of its own, that is in
// the data directory, but for the storage in it.
func (db *DB) refuseOwnFolder(root string) error {
	folder, isFolder := strings.CutPrefix(root, "file://")
	if isFolder && db.inDataDir(resolved(folder), []string{strings.TrimPrefix(db.bucket.URL(), "file://")}) {
		return fail(CodeForbidden, "%s is where the server keeps what is not rows of tables", root).details("name a place outside of its data directory")
	}
	return nil
}

// resolved is a path without symbolic links as far as it exists, so that one folder has one name.
func resolved(folder string) string {
	folder = filepath.Clean(folder)
	rest := ""
	for at := folder; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.ToSlash(filepath.Join(real, rest))
		}
		if at == filepath.Dir(at) {
			return filepath.ToSlash(folder)
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// within says whether path is one of the folders or in one.
func within(folders []string, path string) bool {
	for _, f := range folders {
		if path == f || strings.HasPrefix(path, strings.TrimRight(f, "/")+"/") {
			return true
		}
	}
	return false
}

// split cuts the url of a file into those of its folder and its name, which is empty if the
// url ends with a slash.
func splitURL(url string) (folder, name string) {
	i := strings.LastIndexByte(url, '/')
	return url[:i+1], url[i+1:]
}
