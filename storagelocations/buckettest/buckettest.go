package buckettest

import (
	"testing"

	"kalamdb/storagelocations"
)

func Run(t *testing.T, open func(t *testing.T) storagelocations.Bucket) {}

func StartMinIO(t testing.TB) storagelocations.S3Options { return storagelocations.S3Options{} }
