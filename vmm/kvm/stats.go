package kvm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Statistic is one of the counters that KVM keeps of a processor since it was made
// (KVM_GET_STATS_FD, linux/Documentation/virt/kvm/api.rst, section 4.134).
type Statistic struct {
	fd     int
	offset int64
	value  [8]byte
}

// statsHeader is struct kvm_stats_header.
type statsHeader struct {
	Flags            uint32
	NameSize         uint32 // bytes of each name, zeros at its end included
	Descriptors      uint32
	IDOffset         uint32
	DescriptorOffset uint32
	DataOffset       uint32
}

// statsDescriptor is struct kvm_stats_desc up to its name, which follows.
type statsDescriptor struct {
	Flags      uint32
	Exponent   int16
	Size       uint16 // values of 8 bytes
	Offset     uint32 // of the values, from DataOffset on
	BucketSize uint32
}

// Bounds of what is believed of a header: names have 48 bytes, and there are some 60.
const (
	maxStatsName        = 256
	maxStatsDescriptors = 4096
)

// Statistic opens the counter with KVM's name of it, such as "exits": exits of the guest,
// those that KVM serves by itself among them. The host must have CapBinaryStatsFD.
func (c *VCPU) Statistic(name string) (*Statistic, error) {
	fd, err := c.call(getStatsFD, 0)
	if err != nil {
		return nil, err
	}
	offset, err := statisticOffset(statsFile(fd), name)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Statistic{fd: fd, offset: offset}, nil
}

// Read returns the counter's value. It allocates nothing.
func (s *Statistic) Read() (uint64, error) {
	n, err := unix.Pread(s.fd, s.value[:], s.offset)
	if err == nil && n != len(s.value) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("reading KVM's statistics: %w", err)
	}
	return little.Uint64(s.value[:]), nil
}

// Close closes the counter. Calling it again does nothing.
func (s *Statistic) Close() error { return closeFD(&s.fd, "statistics") }

// statsFile is an io.ReaderAt of the file that describes itself.
type statsFile int

func (f statsFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := unix.Pread(int(f), p, offset)
	if err == nil && n < len(p) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// statisticOffset finds where the file has the value of a counter.
func statisticOffset(f io.ReaderAt, name string) (int64, error) {
	var h statsHeader
	if err := readAt(f, 0, &h); err != nil {
		return 0, err
	}
	if h.NameSize > maxStatsName || h.Descriptors > maxStatsDescriptors {
		return 0, fmt.Errorf("KVM's statistics have names of %d bytes and %d counters", h.NameSize, h.Descriptors)
	}
	at := int64(h.DescriptorOffset)
	key := make([]byte, h.NameSize)
	for range h.Descriptors {
		var d statsDescriptor
		if err := readAt(f, at, &d); err != nil {
			return 0, err
		}
		at += int64(unsafe.Sizeof(d))
		if _, err := f.ReadAt(key, at); err != nil {
			return 0, fmt.Errorf("reading KVM's statistics: %w", err)
		}
		at += int64(len(key))
		if found, _, _ := bytes.Cut(key, []byte{0}); string(found) == name && d.Size == 1 {
			return int64(h.DataOffset) + int64(d.Offset), nil
		}
	}
	return 0, fmt.Errorf("KVM has no statistic %q of a processor", name)
}

// readAt reads a structure.
func readAt(f io.ReaderAt, offset int64, v any) error {
	size := int64(binary.Size(v))
	if err := binary.Read(io.NewSectionReader(f, offset, size), little, v); err != nil {
		return fmt.Errorf("reading KVM's statistics: %w", err)
	}
	return nil
}
