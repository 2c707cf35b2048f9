package storagelocations

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// ErrUnsafe says that a bucket does not keep the promises of [Bucket]. Servers that
// share such a bucket would overwrite each other's commits.
var ErrUnsafe = errors.New("this storage cannot be used safely")

const (
	probeRacers        = 4
	probeTimeout       = 30 * time.Second
	probeDeleteTimeout = 5 * time.Second
)

// Probe writes, races, reads, lists and deletes an object in _kalamdb/probe/ of b.
// The error says which step failed; it is an [ErrUnsafe] if the storage answered
// but not as it must.
func Probe(ctx context.Context, b Bucket) error {
	name := MetaFolder + "/probe/" + rand.Text()
	limited, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("no answer within %v", probeTimeout))
	defer cancel()
	err := probe(limited, b, name)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(limited), err)
	}
	rest, cancelDelete := context.WithTimeout(context.WithoutCancel(ctx), probeDeleteTimeout)
	defer cancelDelete()
	if deleteErr := b.Delete(rest, name); err == nil && deleteErr != nil {
		err = fmt.Errorf("delete: %w", deleteErr)
	}
	if err == nil {
		if _, _, getErr := b.Get(ctx, name); !errors.Is(getErr, ErrNotExist) {
			err = fmt.Errorf("delete: %w: the object is still there (%v)", ErrUnsafe, getErr)
		}
	}
	if err != nil {
		return fmt.Errorf("probe storage %s: %w", b.URL(), err)
	}
	return nil
}

func probe(ctx context.Context, b Bucket, name string) error {
	winner, first, err := probeRace(ctx, b, name)
	if err != nil {
		return err
	}
	if err := probeRead(ctx, b, name, winner); err != nil {
		return err
	}
	second := []byte("second version")
	if _, err := b.Put(ctx, name, second, Cond{IfMatch: first.ETag}); err != nil {
		return fmt.Errorf("conditional overwrite: %w", err)
	}
	switch _, err := b.Put(ctx, name, winner, Cond{IfMatch: first.ETag}); {
	case err == nil:
		return fmt.Errorf("conditional overwrite: %w: it ignores If-Match", ErrUnsafe)
	case !errors.Is(err, ErrPrecondition):
		return fmt.Errorf("conditional overwrite: %w", err)
	}
	if err := probeRead(ctx, b, name, second); err != nil {
		return err
	}
	part, err := b.GetRange(ctx, name, 7, 4)
	if err != nil {
		return fmt.Errorf("read a range: %w", err)
	}
	if err := probeEqual(part, second[7:11]); err != nil {
		return fmt.Errorf("read a range: %w", err)
	}
	listed := 0
	for info, err := range b.List(ctx, name) {
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		if info.Name == name {
			listed++
		}
	}
	if listed != 1 {
		return fmt.Errorf("list: %w: the object is listed %d times", ErrUnsafe, listed)
	}
	return nil
}

// probeRace lets several puts race for one name: exactly one may win.
func probeRace(ctx context.Context, b Bucket, name string) (winner []byte, info Info, err error) {
	var wg sync.WaitGroup
	var bodies [probeRacers][]byte
	var infos [probeRacers]Info
	var errs [probeRacers]error
	for i := range probeRacers {
		bodies[i] = fmt.Appendf(nil, "KalamDB was here, number %d", i)
		wg.Go(func() { infos[i], errs[i] = b.Put(ctx, name, bodies[i], Cond{IfNoneMatch: true}) })
	}
	wg.Wait()
	won := 0
	for i, e := range errs {
		switch {
		case e == nil:
			won++
			winner, info = bodies[i], infos[i]
		case !errors.Is(e, ErrPrecondition):
			return nil, Info{}, fmt.Errorf("write: %w", e)
		}
	}
	if won != 1 {
		return nil, Info{}, fmt.Errorf("conditional write: %w: %d of %d racing writers won, it ignores If-None-Match", ErrUnsafe, won, probeRacers)
	}
	return winner, info, nil
}

func probeRead(ctx context.Context, b Bucket, name string, want []byte) error {
	r, _, err := b.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := probeEqual(r, want); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

func probeEqual(r io.ReadCloser, want []byte) error {
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: it returned %d bytes that differ from what was written", ErrUnsafe, len(got))
	}
	return nil
}
