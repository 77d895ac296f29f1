package kernel

// pieceSize is how much memory the kernel reads or clears at a time, in bytes: what waits
// for it meanwhile waits for less than a millisecond, but where the processor is emulated.
const pieceSize = 64 << 10

// A Region is memory that is read in pieces, because reading all of it may take long. It may be
// read again from its start.
type Region struct {
	bytes []byte
	cpu   CPU
}

// Next returns the first piece, and the region behind it. The piece is empty if the region is. All
// but the last have the same size, a multiple of 4096 bytes.
func (r Region) Next() (piece []byte, rest Region) {
	if len(r.bytes) > pieceSize {
		r.cpu.Poll()
	}
	n := min(len(r.bytes), pieceSize)
	return r.bytes[:n], Region{r.bytes[n:], r.cpu}
}
