package ethernet

import (
	"io"
	"os"
)

// A frameFile is a backend whose file gives and takes a frame with each call: a TAP interface, or a
// socket for datagrams.
type frameFile struct{ *os.File }

// ReadFrame implements Backend. A datagram of no bytes is a frame that is none, and not the end.
func (f *frameFile) ReadFrame(buffer []byte) (int, error) {
	n, err := f.Read(buffer)
	if err == io.EOF {
		return 0, nil
	}
	return n, err
}

// WriteFrame implements Backend.
func (f *frameFile) WriteFrame(frame []byte) error {
	_, err := f.Write(frame)
	return err
}
