package kerneltest

import (
	"bytes"
	"fmt"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/hil"
)

// storageTime is how long a request takes a Storage, in microseconds.
const storageTime = 100

// Storage is a hil.NonvolatileStorage in memory, whose requests end by an interrupt.
type Storage struct {
	Bytes    []byte        // what readers see
	Durable  []byte        // what is there after the machine was killed
	Requests []string      // all that were taken, as "write 512 at 4096"
	Refuse   abi.ErrorCode // what requests return, if it is not abi.OK
	Fail     abi.ErrorCode // how requests end, if it is not abi.OK
	OnDone   func(all int) // if not nil, is told when a request is done, and how many were

	cpu     *CPU
	line    int
	client  hil.NonvolatileStorageClient
	going   bool
	buf     []byte
	perform func()
	done    int
}

// NewStorage makes a storage with such contents, which uses an interrupt line of the machine.
func NewStorage(m *Machine, line int, contents []byte) *Storage {
	s := &Storage{Bytes: bytes.Clone(contents), Durable: bytes.Clone(contents), cpu: &m.CPU, line: line}
	m.Lines[line] = s.serve
	return s
}

// SetNonvolatileStorageClient implements hil.NonvolatileStorage.
func (s *Storage) SetNonvolatileStorageClient(client hil.NonvolatileStorageClient) { s.client = client }

// Size implements hil.NonvolatileStorage.
func (s *Storage) Size() uint64 { return uint64(len(s.Bytes)) }

// Read implements hil.NonvolatileStorage.
func (s *Storage) Read(buf []byte, address uint64) abi.ErrorCode {
	return s.begin("read", buf, address, func() { copy(buf, s.Bytes[address:]) })
}

// Write implements hil.NonvolatileStorage.
func (s *Storage) Write(buf []byte, address uint64) abi.ErrorCode {
	return s.begin("write", buf, address, func() { copy(s.Bytes[address:], buf) })
}

// Flush implements hil.NonvolatileStorage.
func (s *Storage) Flush() abi.ErrorCode {
	return s.begin("flush", nil, 0, func() { copy(s.Durable, s.Bytes) })
}

// begin takes a request. What it does it does at its end.
func (s *Storage) begin(what string, buf []byte, address uint64, perform func()) abi.ErrorCode {
	n := uint64(len(buf))
	switch {
	case s.Refuse != abi.OK:
		return s.Refuse
	case s.going:
		return abi.BUSY
	case address > s.Size() || n > s.Size()-address:
		return abi.INVAL
	}
	s.Requests = append(s.Requests, fmt.Sprintf("%s %d at %d", what, n, address))
	s.going, s.buf, s.perform = true, buf, perform
	s.cpu.raiseAt(s.line, s.cpu.clock+storageTime)
	return abi.OK
}

func (s *Storage) serve() {
	if !s.going {
		return
	}
	buf := s.buf
	s.going, s.buf = false, nil
	if s.Fail == abi.OK {
		s.perform()
	}
	s.done++
	if s.OnDone != nil {
		s.OnDone(s.done)
	}
	s.client.NonvolatileStorageDone(buf, s.Fail)
}
