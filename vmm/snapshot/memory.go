package snapshot

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
)

// Memory is a guest's memory that changes no more: a sealed memfd, in which pages of zeros are holes. Several machines may use it
// at a time. It is safe for concurrent use.
type Memory struct {
	file    int
	mapping []byte // of the file, private and never written
	pages   []uint64
	runs    []Run

	mu    sync.Mutex
	users int // 0: it is gone
}

// Run is a range of bytes of a Memory, a multiple of the page's size.
type Run struct{ Offset, Length uint64 }

// NewMemory makes a memory of size bytes, a multiple of abi.PageSize, from what write writes into it: the rest are zeros.
// It has one user, who calls Release.
func NewMemory(size uint64, write func(w io.WriterAt) error) (_ *Memory, err error) {
	if size == 0 || size%abi.PageSize != 0 {
		return nil, fmt.Errorf("a memory of %d bytes: want a multiple of %d", size, abi.PageSize)
	}
	m := &Memory{file: -1, users: 1}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.file, err = unix.MemfdCreate("kapsel snapshot", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING); err != nil {
		return nil, fmt.Errorf("a file in memory for a snapshot: memfd_create: %w", err)
	}
	if err := unix.Ftruncate(m.file, int64(size)); err != nil {
		return nil, fmt.Errorf("a file in memory of %d bytes for a snapshot: %w", size, err)
	}
	if err := write(&filler{m.file, size}); err != nil {
		return nil, err
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(m.file), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("sealing a snapshot's memory: %w", err)
	}
	if err := m.findRuns(int64(size)); err != nil {
		return nil, fmt.Errorf("looking for the pages of a snapshot's memory: %w", err)
	}
	// A shared mapping of a file with F_SEAL_WRITE is refused by older kernels, even one that is only read.
	m.mapping, err = unix.Mmap(m.file, 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("mapping a snapshot's memory of %d bytes: %w", size, err)
	}
	if err := unix.Madvise(m.mapping, unix.MADV_DONTDUMP); err != nil {
		return nil, fmt.Errorf("keeping a snapshot's memory out of core dumps: %w", err)
	}
	return m, nil
}

// filler writes to a file within its size.
type filler struct {
	file int
	size uint64
}

// WriteAt implements io.WriterAt.
func (f *filler) WriteAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 || uint64(offset) > f.size || uint64(len(p)) > f.size-uint64(offset) {
		return 0, fmt.Errorf("%d bytes at %#x are outside of a memory of %d bytes", len(p), offset, f.size)
	}
	for n < len(p) && err == nil {
		var written int
		written, err = unix.Pwrite(f.file, p[n:], offset+int64(n))
		n += max(written, 0)
		if errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	if err != nil {
		return n, fmt.Errorf("writing a snapshot's memory: %w", err)
	}
	return n, nil
}

// findRuns finds what is not a hole, before a reader of the mapping makes pages of zeros there.
func (m *Memory) findRuns(size int64) error {
	m.pages = make([]uint64, (size/abi.PageSize+63)/64)
	for at := int64(0); at < size; {
		start, err := unix.Seek(m.file, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // no more data
			return nil
		}
		if err != nil {
			return err
		}
		if at, err = unix.Seek(m.file, start, unix.SEEK_HOLE); err != nil {
			return err
		}
		m.runs = append(m.runs, Run{uint64(start), uint64(at - start)})
		for page := start / abi.PageSize; page < at/abi.PageSize; page++ {
			m.pages[page/64] |= 1 << (page % 64)
		}
	}
	return nil
}

// Len returns the memory's size in bytes.
func (m *Memory) Len() uint64 { return uint64(len(m.mapping)) }

// FD returns the descriptor of the file, for a private mapping. It is valid while the caller is a user.
func (m *Memory) FD() int { return m.file }

// Runs returns the ranges that may hold other bytes than zeros, in order.
func (m *Memory) Runs() []Run { return m.runs }

// Page returns the bytes of a page by its number, which nobody may write; nil if all are zeros. The caller is a user, and the
// page is within Len.
func (m *Memory) Page(number uint64) []byte {
	if m.pages[number/64]>>(number%64)&1 == 0 {
		return nil
	}
	return m.mapping[number*abi.PageSize : (number+1)*abi.PageSize : (number+1)*abi.PageSize]
}

// ReadAt implements io.ReaderAt.
func (m *Memory) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, fmt.Errorf("a read at %d of a snapshot's memory", offset)
	}
	for n < len(p) && uint64(offset) < m.Len() {
		within := uint64(offset) % abi.PageSize
		piece := p[n:min(uint64(len(p)), uint64(n)+abi.PageSize-within)]
		if page := m.Page(uint64(offset) / abi.PageSize); page != nil {
			copy(piece, page[within:])
		} else {
			clear(piece)
		}
		n, offset = n+len(piece), offset+int64(len(piece))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// errReleased is what a machine gets of a snapshot that was closed.
var errReleased = errors.New("the snapshot is closed")

// Use makes the caller one more user, who calls Release. It fails if there is none any more.
func (m *Memory) Use() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users == 0 {
		return errReleased
	}
	m.users++
	return nil
}

// Release ends a use. With the last one the host gets its memory back.
func (m *Memory) Release() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users == 0 {
		return errReleased
	}
	if m.users--; m.users > 0 {
		return nil
	}
	return m.close()
}

func (m *Memory) close() error {
	var errs []error
	if m.mapping != nil {
		errs = append(errs, unix.Munmap(m.mapping))
		m.mapping = nil
	}
	if m.file >= 0 {
		errs = append(errs, unix.Close(m.file))
		m.file = -1
	}
	return errors.Join(errs...)
}
