package kalamdb_test

import (
	"context"
	"io"
	"path"
	"strings"
	"testing"

	"kalamdb"
	"kalamdb/lake"
	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

// An s3Place is a storage in MinIO beside which there is room for more.
type s3Place struct {
	t       *testing.T
	options storagelocations.S3Options
	bucket  storagelocations.Bucket // of the storage
	url     string
}

func newS3Place(t *testing.T) *s3Place {
	t.Helper()
	o := buckettest.StartMinIO(t)
	p := &s3Place{t: t, options: o, url: "s3://" + path.Join(o.Bucket, o.Prefix)}
	p.options.Bucket, p.options.Prefix = "", ""
	places := storagelocations.NewPlaces(storagelocations.Options{S3: p.options})
	t.Cleanup(places.Close)
	var err error
	if p.bucket, err = places.Bucket(t.Context(), p.at("storage")); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *s3Place) at(folder string) string { return p.url + "/" + folder }

// database are the options of a server there, with a data directory.
func (p *s3Place) database(dir string) kalamdb.Options {
	return kalamdb.Options{DataDir: dir, Storage: p.at("storage"), S3: p.options}
}

// names are the objects of the storage with a part of a name.
func (p *s3Place) names(part string) []string {
	p.t.Helper()
	var names []string
	for info, err := range p.bucket.List(p.t.Context(), "") {
		if err != nil {
			p.t.Fatal(err)
		}
		if strings.Contains(info.Name, part) {
			names = append(names, info.Name)
		}
	}
	return names
}

func (p *s3Place) read(name string) string {
	p.t.Helper()
	r, _, err := p.bucket.Get(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(body)
}

func (p *s3Place) write(name, body string) {
	p.t.Helper()
	if _, err := p.bucket.Put(p.t.Context(), name, []byte(body), storagelocations.Cond{}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *s3Place) verify(dir string, mode kalamdb.VerifyMode) *lake.Report {
	p.t.Helper()
	r, err := kalamdb.Verify(context.Background(), p.database(dir), mode)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *s3Place) doctor(dir string, rebuild bool) string {
	p.t.Helper()
	findings, err := kalamdb.Doctor(context.Background(), p.database(dir), rebuild)
	if err != nil {
		p.t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range findings {
		if !f.OK {
			b.WriteString("! ")
		}
		b.WriteString(f.What + ": " + f.Text + "\n")
	}
	return b.String()
}

// What is done in folders elsewhere is done here in an S3 store: backup, restore, export,
// forgetting, a reader beside the owner, verify, doctor, and a start from the bucket alone.
func TestEverythingOnS3(t *testing.T) {
	p := newS3Place(t)
	dir := t.TempDir()
	db := openDB(t, p.database(dir))
	fillShop(t, db)
	want := everything(t, db, "shop")

	backup := "BACKUP DATABASE shop TO '" + p.at("backups") + "'"
	first := mustExec(t, db, "root", backup)[0]
	if again := mustExec(t, db, "root", backup)[0]; first.Rows[0][9].Int() == 0 || again.Rows[0][9].Int() != 0 {
		t.Errorf("%d files copied, then %d", first.Rows[0][9].Int(), again.Rows[0][9].Int())
	}
	mustExec(t, db, "alice", "INSERT INTO shop.rooms VALUES (7, 'later')")
	later := everything(t, db, "shop")
	if got := answer(t, db, "root", "SHOW BACKUP '"+p.at("backups")+"'"); strings.Count(got, "\n") != 2 {
		t.Errorf("SHOW BACKUP: %s", got)
	}
	mustExec(t, db, "root", "RESTORE DATABASE shop FROM '"+p.at("backups")+"' AT 1 AS copy")
	if got := everything(t, db, "copy"); got != want {
		t.Errorf("restored:\n%s\nexpected\n%s", got, want)
	}
	elsewhere := openDB(t, kalamdb.Options{DataDir: t.TempDir(), S3: p.options})
	mustExec(t, elsewhere, "root", "RESTORE DATABASE shop FROM '"+p.at("backups/")+"'")
	if got := everything(t, elsewhere, "shop"); got != want {
		t.Errorf("restored into a folder:\n%s\nexpected\n%s", got, want)
	}
	damaged := p.names("shop/notes/batch-")[0]
	wantCode(t, execAs(db, "root", "RESTORE DATABASE shop FROM '"+p.at("none")+"' AS x"), kalamdb.CodeNotFound)
	wantCode(t, execAs(db, "root", "RESTORE DATABASE shop FROM 's3://no-such-bucket-of-kalamdb/x' AS x"), kalamdb.CodeStorage)

	for _, format := range []string{"parquet", "csv", "json"} {
		name := p.at("exports/rows." + format)
		mustExec(t, db, "root", "EXPORT (SELECT * FROM shop.rooms ORDER BY id) TO '"+name+"'")
		wantCode(t, execAs(db, "root", "EXPORT (SELECT 1) TO '"+name+"'"), kalamdb.CodeAlreadyExists)
	}
	mustExec(t, db, "root", "EXPORT USER 'bob' TO '"+p.at("exports/bob")+"'")
	wantCode(t, execAs(db, "root", "EXPORT (SELECT 1) TO '"+p.at("storage/x.csv")+"'"), kalamdb.CodeForbidden)

	follower := p.database(t.TempDir())
	follower.ReadOnly = true
	mustExec(t, db, "root", "FLUSH ALL")
	reader := openDB(t, follower)
	if got := everything(t, reader, "shop"); got != later {
		t.Errorf("the reader has\n%s\nexpected\n%s", got, later)
	}
	mustExec(t, db, "alice", "INSERT INTO shop.rooms VALUES (8, 'flushed')")
	mustExec(t, db, "root", "FLUSH ALL")
	waitFor(t, func() bool {
		return answer(t, reader, "alice", "SELECT name FROM shop.rooms WHERE id = 8") == "\"flushed\"\n"
	})
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}

	mustExec(t, db, "root", "FORGET USER 'bob'")
	if left := p.names("users/bob/"); len(left) > 0 {
		t.Errorf("of bob there is %v", left)
	}
	mustExec(t, db, "alice", "INSERT INTO shop.rooms VALUES (9, 'buffered')")
	later = everything(t, db, "shop")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if r := p.verify(dir, kalamdb.VerifyMode{}); len(r.Problems) > 0 || r.WaitingRows == 0 {
		t.Fatalf("verify: %+v", r)
	}
	body := p.read(damaged)
	p.write(damaged, body[:len(body)/2]+"x"+body[len(body)/2+1:])
	if r := p.verify(dir, kalamdb.VerifyMode{BucketOnly: true}); len(r.Problems) != 1 || r.Problems[0].Object != damaged {
		t.Errorf("verify of a damaged file: %+v", r.Problems)
	}
	p.write(damaged, body)

	logs := p.names("_kalamdb/log/shop/notes/")
	p.write(logs[0], "damaged")
	if got := p.doctor(dir, false); !strings.Contains(got, "! log of shop.notes: it cannot be replayed") {
		t.Fatal(got)
	}
	if got := p.doctor(dir, true); strings.Contains(got, "! ") || !strings.Contains(got, "log of shop.notes: rebuilt: ") {
		t.Fatal(got)
	}
	if r := p.verify(dir, kalamdb.VerifyMode{}); len(r.Problems) > 0 {
		t.Fatalf("verify of the new log: %+v", r.Problems)
	}
	db = openDB(t, p.database(dir))
	if got := everything(t, db, "shop"); got != later {
		t.Errorf("with the new log:\n%s\nexpected\n%s", got, later)
	}
	mustExec(t, db, "root", "FLUSH ALL")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, p.database(t.TempDir())) // from the bucket alone
	if got := everything(t, db, "shop"); got != later {
		t.Errorf("without the data directory:\n%s\nexpected\n%s", got, later)
	}
	mustExec(t, db, "alice", "INSERT INTO shop.notes VALUES (2000, 'new', 'n'); DELETE FROM shop.rooms WHERE id = 9")
	mustExec(t, db, "root", "FLUSH ALL; DROP NAMESPACE copy CASCADE")
	waitFor(t, func() bool { return len(p.names("/copy/")) == 0 })
}
