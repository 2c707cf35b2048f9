package ingest

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ballastBytes is the size of a file that only takes room. Pebble cannot live on a
// full disk; when other users have filled it, the file is removed, so that the flusher
// can still move rows out and the process can still start.
const ballastBytes = 64 << 20

const ballastName = "ballast"

// checkDisk refuses writes while too little of the disk is free, and keeps the ballast.
func (b *Buffer) checkDisk() {
	if b.o.FreeDiskPercentMin < 0 {
		return
	}
	usage, err := b.o.FS.GetDiskUsage(b.o.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return
	}
	if err != nil {
		b.log.Warn("cannot see how much of the disk is free", "error", err)
		return
	}
	low := usage.AvailBytes < usage.TotalBytes/100*uint64(b.o.FreeDiskPercentMin)
	if was := b.diskLow.Swap(low); low != was {
		b.log.Warn("room on the disk of the write buffer", "writes_refused", low, "free_bytes", usage.AvailBytes)
	}
	name := b.o.FS.PathJoin(b.o.Dir, ballastName)
	_, err = b.o.FS.Stat(name)
	there := err == nil
	switch {
	case there && usage.AvailBytes < ballastBytes:
		err = b.o.FS.Remove(name)
	case !there && !low && usage.AvailBytes > 4*ballastBytes:
		err = b.makeBallast(name)
	default:
		return
	}
	if err != nil {
		b.log.Warn("cannot keep the ballast file", "error", err)
	}
}

func (b *Buffer) makeBallast(name string) error {
	f, err := b.o.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Preallocate(0, ballastBytes), f.Close())
}
