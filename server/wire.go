package server

import (
	"encoding/binary"
	"sync"
	"time"

	"kalamdb"
)

// wireBytes is how many bytes of frames are gathered for one write to the connection;
// a frame that is larger goes out with its own.
const wireBytes = 64 << 10

// wires are buffers of wireBytes, which a socket has only while it sends.
var wires = sync.Pool{New: func() any { b := make([]byte, 0, wireBytes); return &b }}

// frameHeadMax is the largest head of a frame of a server, which masks nothing.
const frameHeadMax = 10

// The first byte of a text frame that is a whole message.
const textFrame = 0x80 | 1

// put appends a frame to those that flush sends.
func (k *socket) put(frame []byte) error {
	start, err := k.startFrame(len(frame))
	if err != nil {
		return err
	}
	k.wire = append(k.wire, frame...)
	k.endFrame(start)
	return nil
}

// sendEvent is put of the frame of an event.
func (k *socket) sendEvent(q *liveQuery, e *kalamdb.Event) error {
	room := len(q.id) + len(q.queryID) + 256
	for _, r := range e.Rows {
		room += len(r) + 1
	}
	for _, r := range e.Old {
		room += len(r) + 1
	}
	start, err := k.startFrame(room)
	if err != nil {
		return err
	}
	k.wire = appendEvent(appendFrameHead(k.wire, "change", q.id, q.queryID), e)
	k.endFrame(start)
	return nil
}

// startFrame makes room for a frame of about so many bytes and its head.
func (k *socket) startFrame(bytes int) (start int, err error) {
	if len(k.wire) > 0 && len(k.wire)+bytes > wireBytes {
		if err := k.flush(); err != nil {
			return 0, err
		}
	}
	if k.wire == nil {
		k.wire = (*wires.Get().(*[]byte))[:0]
	}
	start = len(k.wire)
	k.wire = append(k.wire, make([]byte, frameHeadMax)...)
	return start, nil
}

// endFrame writes the head of the frame that began at start: directly before its text,
// which moves there if the head is shorter than it could be.
func (k *socket) endFrame(start int) {
	var head [frameHeadMax]byte
	head[0] = textFrame
	length, n := len(k.wire)-start-frameHeadMax, 2
	switch {
	case length < 126:
		head[1] = byte(length)
	case length <= 0xffff:
		head[1] = 126
		binary.BigEndian.PutUint16(head[2:], uint16(length))
		n = 4
	default:
		head[1] = 127
		binary.BigEndian.PutUint64(head[2:], uint64(length))
		n = frameHeadMax
	}
	copy(k.wire[start:], head[:n])
	if n < frameHeadMax {
		k.wire = append(k.wire[:start+n], k.wire[start+frameHeadMax:]...)
	}
}

// flush sends what was put. Frames of the protocol itself, such as pings, go through
// k.conn: each of them is one write too, so they come between whole frames.
func (k *socket) flush() error {
	if len(k.wire) == 0 {
		return nil
	}
	deadline := k.deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(k.s.o.WriteTimeout)
	}
	conn := k.conn.NetConn()
	err := conn.SetWriteDeadline(deadline)
	if err == nil {
		_, err = conn.Write(k.wire)
	}
	if cap(k.wire) <= 2*wireBytes {
		b := k.wire
		wires.Put(&b)
	}
	k.wire = nil
	return err
}
