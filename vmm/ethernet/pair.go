package ethernet

import "io"

// end is one of two connected backends in memory.
type end struct{ in, out *ring }

// Pair returns two backends of which each reads what the other writes. A writer waits when the
// other end is QueueSize frames behind. Closing one ends both.
func Pair() (Backend, Backend) {
	a, b := new(ring), new(ring)
	a.init()
	b.init()
	return &end{a, b}, &end{b, a}
}

// ReadFrame implements Backend.
func (e *end) ReadFrame(buffer []byte) (int, error) {
	var frame [MaxFrame]byte
	n := e.in.takeWait(&frame)
	if n == 0 {
		return 0, io.EOF
	}
	copy(buffer, frame[:n])
	return n, nil
}

// WriteFrame implements Backend.
func (e *end) WriteFrame(frame []byte) error {
	if _, ok := e.out.putWait(frame); !ok {
		return io.ErrClosedPipe
	}
	return nil
}

// Close implements Backend.
func (e *end) Close() error {
	e.in.close()
	e.out.close()
	return nil
}
