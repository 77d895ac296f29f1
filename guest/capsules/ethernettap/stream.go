package ethernettap

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// A stream is the header of a task's buffer that chunks are appended to (abi.StreamHeaderSize), as the task left it: it may be
// anything, and another one each time.
type stream [abi.StreamHeaderSize]byte

// appendChunk appends a chunk, wholly or not at all, to the stream in a buffer, and reports whether it is the first there. It returns
//   - abi.SIZE if there is no room: for the header, or for the chunk, which the header then says,
//   - abi.INVAL if the header is not one of version 0,
//   - abi.BUSY if the task wants nothing more behind a chunk that found no room,
//   - abi.FAIL if an offset of 32 bits would not do.
func appendChunk(buffer kernel.ReadWriteBuffer, chunk []byte) (first bool, e abi.ErrorCode) {
	var s stream
	if buffer.ReadAt(s[:], 0) < len(s) {
		return false, abi.SIZE
	}
	offset := s.offset()
	end := offset + uint64(len(chunk))
	switch {
	case !s.valid():
		return false, abi.INVAL
	case s.halted():
		return false, abi.BUSY
	case end > 1<<32-1:
		return false, abi.FAIL
	case abi.StreamHeaderSize+end > buffer.Len():
		s[abi.StreamFlags+1] |= abi.StreamExceeded
		buffer.WriteAt(s[:], 0)
		return false, abi.SIZE
	}
	buffer.WriteAt(chunk, abi.StreamHeaderSize+offset)
	put32(s[abi.StreamOffset:], uint32(end))
	buffer.WriteAt(s[:], 0)
	return offset == 0 && len(chunk) != 0, abi.OK
}

// valid reports whether the version is 0 and no flag is set that nobody knows.
func (s *stream) valid() bool {
	const known = abi.StreamHalt | abi.StreamExceeded
	return s[0] == 0 && s[1] == 0 && s[abi.StreamFlags] == 0 && s[abi.StreamFlags+1]&^known == 0
}

// halted reports whether a chunk found no room and the task wants no other.
func (s *stream) halted() bool {
	const both = abi.StreamHalt | abi.StreamExceeded
	return s[abi.StreamFlags+1]&both == both
}

// offset is where the next chunk goes, behind the header.
func (s *stream) offset() uint64 {
	b := s[abi.StreamOffset:]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24
}

func put16(b []byte, v uint16) {
	_ = b[1]
	b[0], b[1] = byte(v), byte(v>>8)
}

func put32(b []byte, v uint32) {
	put16(b, uint16(v))
	put16(b[2:], uint16(v>>16))
}

func put64(b []byte, v uint64) {
	put32(b, uint32(v))
	put32(b[4:], uint32(v>>32))
}
