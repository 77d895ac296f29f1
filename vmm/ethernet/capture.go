package ethernet

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Capture writes frames into a pcap file with nanoseconds, as tcpdump and Wireshark read it
// (draft-ietf-opsawg-pcap, sections 4 and 5). Its methods may be called at once by different goroutines.
type Capture struct {
	mu   sync.Mutex
	file io.Closer
	out  *bufio.Writer // keeps its first error
	now  func() time.Time
}

// Numbers of the file header.
const (
	pcapMagic    = 0xa1b2_3c4d // nanoseconds
	pcapMajor    = 2
	pcapMinor    = 4
	pcapEthernet = 1 // LINKTYPE_ETHERNET
)

// Sizes of the headers in bytes.
const (
	pcapHeaderSize = 24
	pcapRecordSize = 16
)

// CreateCapture makes a pcap file, readable by its owner alone, or empties the one that is there. Only a
// regular file will do: a pipe that nobody reads would hold the machine.
func CreateCapture(path string) (*Capture, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q: want a regular file for a capture", path)
	}
	if err == nil {
		err = file.Truncate(0)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return NewCapture(file), nil
}

// NewCapture returns a capture that writes to file and closes it.
func NewCapture(file io.WriteCloser) *Capture {
	c := &Capture{file: file, out: bufio.NewWriterSize(file, 64<<10), now: time.Now}
	var h [pcapHeaderSize]byte // time zone and accuracy are 0
	binary.LittleEndian.PutUint32(h[0:], pcapMagic)
	binary.LittleEndian.PutUint16(h[4:], pcapMajor)
	binary.LittleEndian.PutUint16(h[6:], pcapMinor)
	binary.LittleEndian.PutUint32(h[16:], MaxFrame)
	binary.LittleEndian.PutUint32(h[20:], pcapEthernet)
	c.out.Write(h[:])
	return c
}

// Frame appends a frame that passes now. An error is told by Close.
func (c *Capture) Frame(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	when := c.now()
	var h [pcapRecordSize]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(when.Unix()))
	binary.LittleEndian.PutUint32(h[4:], uint32(when.Nanosecond()))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(frame)))
	binary.LittleEndian.PutUint32(h[12:], uint32(len(frame)))
	c.out.Write(h[:])
	c.out.Write(frame)
}

// Close writes what is buffered and closes the file. The error is the first of all writing.
func (c *Capture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.out.Flush()
	if closing := c.file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("the capture is not complete: %w", err)
	}
	return nil
}
