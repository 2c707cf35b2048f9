package row

import (
	"encoding/binary"
	"fmt"
)

// A stored row in two parts, for a writer that encodes the values before it knows
// the commit: AppendRowTail(AppendRowHead(dst, r), r) is AppendRow(dst, r).

// AppendRowHead appends what a commit decides: Deleted, Seq and Updated.
func AppendRowHead(dst []byte, seq Seq, updated int64, deleted bool) []byte {
	var flags byte
	if deleted {
		flags = 1
	}
	dst = append(dst, rowVersion, flags)
	dst = binary.AppendUvarint(dst, uint64(seq))
	return binary.AppendVarint(dst, updated)
}

// AppendRowTail appends the rest: the schema version and the values.
func AppendRowTail(dst []byte, schema uint32, values []Value) []byte {
	dst = binary.AppendUvarint(dst, uint64(schema))
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	for _, v := range values {
		dst = AppendValue(dst, v)
	}
	return dst
}

// DecodeRowHead reads what AppendRowHead wrote, without the values.
func DecodeRowHead(b []byte) (seq Seq, updated int64, deleted bool, err error) {
	if len(b) < 3 || b[0] != rowVersion || b[1] > 1 {
		return 0, 0, false, fmt.Errorf("%w: %d bytes without the head of a row", errCorrupt, len(b))
	}
	n, rest, err := uvarint(b[2:])
	if err == nil && n >= uint64(SeqMax) {
		err = fmt.Errorf("%w: seq %d", errCorrupt, n)
	}
	if err == nil {
		updated, _, err = varint(rest)
	}
	return Seq(n), updated, b[1] == 1, err
}
