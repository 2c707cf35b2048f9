package storagelocations_test

import (
	"io"
	"testing"

	"go.uber.org/goleak"

	"kalamdb/storagelocations"
	"kalamdb/storagelocations/buckettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newDir(t testing.TB) storagelocations.Bucket {
	t.Helper()
	b, err := storagelocations.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newS3(t testing.TB, o storagelocations.S3Options) storagelocations.Bucket {
	t.Helper()
	b, err := storagelocations.NewS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.(io.Closer).Close() })
	return b
}

func TestMemory(t *testing.T) {
	buckettest.Run(t, func(*testing.T) storagelocations.Bucket { return storagelocations.NewMemory() })
}

func TestDir(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) storagelocations.Bucket { return newDir(t) })
}

func TestTraceWithoutRules(t *testing.T) {
	buckettest.Run(t, func(*testing.T) storagelocations.Bucket {
		return buckettest.NewTrace(storagelocations.NewMemory())
	})
}

func TestS3(t *testing.T) { testS3(t, buckettest.StartMinIO(t)) }

func TestS3OfVersityGW(t *testing.T) { testS3(t, buckettest.StartVersityGW(t)) }

func testS3(t *testing.T, o storagelocations.S3Options) {
	root := o.Prefix
	buckettest.Run(t, func(t *testing.T) storagelocations.Bucket {
		o := o
		o.Prefix = root + "/" + t.Name() // names of tests have characters that are awkward in keys
		return newS3(t, o)
	})
}
