package kalamdb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"kalamdb/catalog"
	"kalamdb/sql"
	"kalamdb/storagelocations"
)

// A tableBuckets has the buckets of tables that are not in the default location. Tables
// made with one version of a storage location share one.
type tableBuckets struct {
	catalog *catalog.Catalog
	places  *storagelocations.Places

	mu     sync.Mutex // guards relays; nothing blocks under it
	relays map[bucketKey]*storagelocations.Relay
}

type bucketKey struct {
	root, location string
	version        uint32
}

func newTableBuckets(c *catalog.Catalog, p *storagelocations.Places) *tableBuckets {
	return &tableBuckets{catalog: c, places: p, relays: map[bucketKey]*storagelocations.Relay{}}
}

// of is the bucket of a table with a Root. It is opened when it is needed: a location out
// of reach concerns its own tables only.
func (b *tableBuckets) of(t *catalog.Table) storagelocations.Bucket {
	key := bucketKey{t.Root, t.Location, t.LocationVersion}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.relays[key] == nil {
		b.relays[key] = storagelocations.NewRelay(t.Root, func(ctx context.Context) (storagelocations.Bucket, error) {
			at := storagelocations.Place{URL: t.Root}
			v, named, err := b.catalog.LocationOf(t)
			if err == nil && named {
				at.S3, err = v.S3()
			}
			if err != nil {
				return nil, err
			}
			return b.places.At(ctx, at)
		})
	}
	return b.relays[key]
}

// reopen has the tables of a location go by what it says now.
func (b *tableBuckets) reopen(location string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, relay := range b.relays {
		if key.location == location {
			relay.Reopen()
		}
	}
}

// defineLocation runs a statement about a storage location. It takes no turn among other
// definitions, as trying a place out takes its time: the catalog itself refuses to drop a
// location that a table has got meanwhile, and a table for a place that is no more.
func (db *DB) defineLocation(ctx context.Context, s sql.Statement) error {
	switch st := s.(type) {
	case *sql.CreateLocation:
		return db.createLocation(ctx, st)
	case *sql.AlterLocation:
		return retryConflicts(func() error { return db.alterLocation(ctx, st) })
	case *sql.DropLocation:
		return db.dropLocation(ctx, st)
	}
	panic("kalamdb: broken invariant: " + s.Verb() + " is not about a storage location")
}

// createLocation runs CREATE STORAGE LOCATION.
func (db *DB) createLocation(ctx context.Context, st *sql.CreateLocation) error {
	l := catalog.Location{Name: st.Name}
	if err := setLocationOptions(&l.LocationVersion, st.Options); err != nil {
		return err
	}
	if _, err := db.catalog.Location(l.Name); err == nil {
		if st.IfNotExists {
			return nil
		}
		return fail(CodeAlreadyExists, "storage location %s already exists", l.Name).at(st.Pos)
	}
	if err := db.addLocation(ctx, &l); err != nil {
		return asError(err).at(st.Pos)
	}
	return nil
}

// addLocation makes l after it was tried out.
func (db *DB) addLocation(ctx context.Context, l *catalog.Location) error {
	if err := db.checkLocation(ctx, l); err != nil {
		return err
	}
	return db.catalog.CreateLocation(ctx, *l)
}

// alterLocation runs ALTER STORAGE LOCATION.
func (db *DB) alterLocation(ctx context.Context, st *sql.AlterLocation) error {
	l, err := db.catalog.Location(st.Name)
	if err != nil {
		return asError(err).at(st.Pos)
	}
	to := l
	to.LocationVersion = editable(&l)
	if err := setLocationOptions(&to.LocationVersion, st.Options); err != nil {
		return err
	}
	err = db.changeLocation(ctx, l, &to)
	if err == nil || errors.Is(err, catalog.ErrConflict) {
		return err
	}
	return asError(err).at(st.Pos)
}

// editable is what l says, for a change: without the type, which follows from the path.
func editable(l *catalog.Location) catalog.LocationVersion {
	v := l.LocationVersion
	v.Type = ""
	return v
}

// changeLocation gives l the version of to after it was tried out.
func (db *DB) changeLocation(ctx context.Context, l catalog.Location, to *catalog.Location) error {
	if l.Name == catalog.DefaultName {
		return fail(CodeForbidden, "storage location default is where the server keeps its catalog: only the server's settings say where that is")
	}
	if err := db.checkLocation(ctx, to); err != nil {
		return err
	}
	// A caller that leaves now must not leave tables on the old way.
	_, err := db.catalog.AlterLocation(context.WithoutCancel(ctx), l, to.LocationVersion)
	db.buckets.reopen(l.Name)
	return err
}

// dropLocation runs DROP STORAGE LOCATION.
func (db *DB) dropLocation(ctx context.Context, st *sql.DropLocation) error {
	err := db.removeLocation(ctx, st.Name)
	if st.IfExists && errors.Is(err, catalog.ErrNotFound) {
		return nil
	}
	if err != nil {
		return asError(err).at(st.Pos)
	}
	return nil
}

func (db *DB) removeLocation(ctx context.Context, name string) error {
	if err := db.mayRemoveLocation(name); err != nil {
		return err
	}
	err := db.catalog.DropLocation(ctx, name)
	db.buckets.reopen(name) // another of that name may come
	return err
}

func (db *DB) mayRemoveLocation(name string) error {
	if name == catalog.DefaultName {
		return fail(CodeForbidden, "storage location default is where the server keeps its catalog and cannot be dropped")
	}
	return db.catalog.MayDropLocation(name)
}

// checkLocation completes l and tries it out: what is wrong with it is found before
// anything depends on it.
func (db *DB) checkLocation(ctx context.Context, l *catalog.Location) error {
	if err := l.Complete(); err != nil {
		return invalidLocation(err)
	}
	at := storagelocations.Place{}
	var err error
	if at.URL, err = l.Root(); err == nil {
		at.S3, err = l.S3()
	}
	if err == nil && l.Name != catalog.DefaultName {
		err = db.refuseOwnFolder(at.URL)
	}
	if err != nil {
		return err
	}
	return db.probe(ctx, "storage location "+l.Name, at)
}

// probe finds out whether a place can be used; what it is called is for the error.
func (db *DB) probe(ctx context.Context, what string, at storagelocations.Place) error {
	bucket, err := db.places.At(ctx, at)
	if err == nil {
		err = storagelocations.Probe(ctx, bucket)
	}
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	e := fail(CodeInvalidLocation, "%s cannot be used: %s", what, err)
	e.Cause = err
	return e
}

// invalidLocation makes what the catalog does not accept in a location an error of it.
func invalidLocation(err error) error {
	if errors.Is(err, catalog.ErrInvalid) {
		return fail(CodeInvalidLocation, "%s", strings.TrimPrefix(err.Error(), catalog.ErrInvalid.Error()+": "))
	}
	return err
}

// locationOptions are the options of CREATE and ALTER STORAGE LOCATION.
var locationOptions = append([]string{"type", "path", "credentials_ref"}, storagelocations.S3OptionNames...)

const locationOptionsOwn = 3 // of them, that are no options of s3

func setLocationOptions(v *catalog.LocationVersion, options []sql.Option) error {
	for _, o := range options {
		if err := setLocationOption(v, o.Key, o.Value); err != nil {
			return asError(err).at(o.Pos)
		}
	}
	return nil
}

// setLocationOption gives v one option. v may share its map with others: it is not changed.
func setLocationOption(v *catalog.LocationVersion, name, value string) error {
	switch name {
	case "type":
		v.Type = strings.ToLower(value)
		return nil
	case "path":
		v.Path = value
		return nil
	case "credentials_ref":
		if err := storagelocations.CheckCredentials(value); err != nil {
			return fail(CodeInvalidLocation, "credentials_ref is no reference: expected 'env:PREFIX', 'profile:name', 'file:/absolute/path', 'iam' or ''").
				details("keys themselves are never kept")
		}
		v.CredentialsRef = value
		return nil
	}
	if !slices.Contains(storagelocations.S3OptionNames, name) {
		if isSecretName(name) {
			return fail(CodeInvalidLocation, "a storage location has no option %s: keys are never kept", name).
				details("say where they are: credentials_ref = 'env:PREFIX', 'profile:name', 'file:/absolute/path' or 'iam'")
		}
		nearest, _ := sql.Nearest(name, locationOptions)
		return fail(CodeInvalidLocation, "a storage location has no option %s, expected %s", name, strings.Join(locationOptions, ", ")).details(didYouMean(nearest))
	}
	options := map[string]string{}
	for other, kept := range v.Options {
		if other != name {
			options[other] = kept
		}
	}
	if value != "" {
		options[name] = value
	}
	v.Options = options
	return nil
}

// isSecretName says whether an option of this name would be a key.
func isSecretName(name string) bool {
	return slices.ContainsFunc([]string{"key", "secret", "token", "password", "credential"}, func(word string) bool { return strings.Contains(name, word) })
}

// refuseKeys refuses, before anything of the request runs and is noted, keys in the
// place of a reference to them.
func refuseKeys(s sql.Statement) error {
	var v catalog.LocationVersion
	switch st := s.(type) {
	case *sql.CreateLocation:
		return setLocationOptions(&v, st.Options)
	case *sql.AlterLocation:
		return setLocationOptions(&v, st.Options)
	}
	return nil
}
