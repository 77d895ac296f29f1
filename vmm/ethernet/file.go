package ethernet

import "os"

// A frameFile is a backend whose file gives and takes a frame with each call: a TAP interface, or a
// socket for datagrams.
type frameFile struct{ *os.File }

// ReadFrame implements Backend.
func (f *frameFile) ReadFrame(buffer []byte) (int, error) { return f.Read(buffer) }

// WriteFrame implements Backend.
func (f *frameFile) WriteFrame(frame []byte) error {
	_, err := f.Write(frame)
	return err
}
