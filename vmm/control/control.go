// Package control is the way to a running machine: a unix socket at which the monitor listens, and by which other processes load and unload
// its tasks, and look after them. What they ask goes to the kernel by the port abi.PortLoad, in its frames.
package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/crc32c"
)

// frame is a frame of the port (guest/abi/loadport.go).
type frame struct {
	kind    byte
	payload []byte
}

// append appends the frame's bytes to b.
func (f frame) append(b []byte) []byte {
	head := []byte{abi.LoadVersion, f.kind, byte(len(f.payload)), byte(len(f.payload) >> 8)}
	b = append(b, head...)
	b = binary.LittleEndian.AppendUint32(b, crc32c.Add(crc32c.Sum(head), f.payload))
	return append(b, f.payload...)
}

// write writes the frame at once.
func (f frame) write(w io.Writer) error {
	_, err := w.Write(f.append(nil))
	return err
}

// errFrame says that what was read is no frame.
var errFrame = errors.New("what came is no frame of this version of the control protocol")

// readFrame reads the next frame. It returns io.EOF if there is none.
func readFrame(r io.Reader) (frame, error) {
	head := make([]byte, abi.LoadHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return frame{}, err
	}
	size := int(binary.LittleEndian.Uint16(head[2:]))
	if head[0] != abi.LoadVersion || size > abi.LoadPayload {
		return frame{}, errFrame
	}
	f := frame{kind: head[1], payload: make([]byte, size)}
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(head[4:]) != crc32c.Add(crc32c.Sum(head[:4]), f.payload) {
		return frame{}, errFrame
	}
	return f, nil
}

// errAnew says that who should have answered is gone.
var errAnew = errors.New("the kernel's driver has failed and was made anew: whether it was done is not known, ask again")

// anew is how the kernel says so.
var anew = frame{abi.LoadHello | abi.LoadAnswer, []byte{byte(abi.CANCEL)}}

func (f frame) isAnew() bool { return f.kind == anew.kind && bytes.Equal(f.payload, anew.payload) }

// last reports whether nothing follows this answer.
func (f frame) last() bool {
	return f.kind != abi.LoadTasks|abi.LoadAnswer && f.kind != abi.LoadSave|abi.LoadAnswer || len(f.payload) == 1
}

// answered passes on the frames of an answer to what was asked.
func answered(next func() (frame, error), asked byte, pass func(frame) error) error {
	for {
		f, err := next()
		switch {
		case err != nil:
			return err
		case f.isAnew():
			return errAnew
		case f.kind != asked|abi.LoadAnswer || len(f.payload) == 0:
			return fmt.Errorf("the kernel refuses a request of kind %d, or answers another one", asked)
		}
		if err := pass(f); err != nil || f.last() {
			return err
		}
	}
}
