package lake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"kalamdb/row"
	"kalamdb/storagelocations"
)

// packs checks the packs of t as objects and returns those that are damaged, whose slices
// are not worth a problem each.
func (v *verifier) packs(ctx context.Context, t *table) (bad map[string]bool, err error) {
	bad = map[string]bool{}
	for _, name := range t.packNames() {
		p := t.packs[name]
		if p.live == 0 {
			continue // it is being deleted
		}
		err := wholePack(ctx, t.bucket, p)
		switch {
		case faulty(err):
			bad[name] = true
			v.problem(Problem{Table: t.ref, Object: name, What: err.Error()})
		case err != nil:
			return nil, err
		}
	}
	return bad, nil
}

// wholePack reads a pack and says what in it is not as its footer says.
func wholePack(ctx context.Context, b storagelocations.Bucket, p *packState) error {
	body, err := read(ctx, b, p.name)
	if err != nil {
		return err
	}
	if int64(len(body)) != p.Bytes {
		return corruptf("%d bytes, expected %d", len(body), p.Bytes)
	}
	footer := &packFooter{body: body[p.Bytes-p.Footer:]}
	if sum := sha256.Sum256(footer.body); hex.EncodeToString(sum[:]) != p.checksum {
		return corruptf("the footer has the checksum %x, expected %s", sum, p.checksum)
	}
	if err := footer.parse(); err != nil {
		return err
	}
	return footer.directory.check(body[:p.Bytes-p.Footer])
}

// check holds what comes before the footer of a pack to the checksums.
func (d *packDirectory) check(body []byte) error {
	rest := sha256.New()
	end := int64(0)
	for i, g := range d.Groups {
		if g.Offset < end || g.Bytes < 0 || g.Offset+g.Bytes > int64(len(body)) {
			return corruptf("row group %d is not within the file", i)
		}
		if sum := sha256.Sum256(body[g.Offset : g.Offset+g.Bytes]); hex.EncodeToString(sum[:]) != g.Checksum {
			return corruptf("row group %d has the checksum %x, expected %s", i, sum, g.Checksum)
		}
		rest.Write(body[end:g.Offset])
		end = g.Offset + g.Bytes
	}
	rest.Write(body[end:])
	if got := hex.EncodeToString(rest.Sum(nil)); got != d.Rest {
		return corruptf("what is not in a row group has the checksum %s, expected %s", got, d.Rest)
	}
	if !slices.IsSorted(d.users()) {
		return corruptf("the users of the directory are not in order")
	}
	return nil
}

func (d *packDirectory) users() []row.UserID {
	var list []row.UserID
	for _, g := range d.Groups {
		for _, u := range g.Users {
			list = append(list, u.User)
		}
	}
	return list
}
