// Package image reads boot images and lays them out in guest memory, ready for the direct
// door of package kapsel/guest/abi. It trusts neither: an image that does not fit into the
// memory, overlaps itself or lacks the boot note is refused in one clear line.
package image

import (
	"fmt"
	"io"
	"os"

	"kapsel/guest/abi"
)

// MaxFileSize is the largest image file that Open reads, in bytes.
const MaxFileSize = 256 << 20

// Image is a checked boot image. Its addresses are those of its ELF file, where a PVH loader
// puts it: physical ones, and abi.KernelBase less than the virtual ones.
type Image struct {
	entry      uint64 // virtual
	segments   []segment
	start, end uint64 // page aligned: from the first segment's to the last one's end

	heartbeat uint64 // virtual, 0: none
}

// Heartbeat is the physical address behind a door of the word by which the kernel shows that it
// lives (abi.NoteHeartbeat), 8 bytes within the image. It reports false if the image has none.
func (img *Image) Heartbeat(d Door) (address uint64, ok bool) {
	return img.At(d) + img.heartbeat - abi.KernelBase - img.start, img.heartbeat != 0
}

// segment is a range of the image and its first bytes; the rest is zero.
type segment struct {
	address uint64
	size    uint64 // bytes in memory, at least len(data)
	data    []byte
}

// Open reads and checks the image in the file at path.
func Open(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := read(f)
	if err != nil {
		return nil, err
	}
	img, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return img, nil
}

// read reads a file of at most MaxFileSize bytes. A file that says how large it is, is refused
// before it is read.
func read(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxFileSize {
		return nil, fmt.Errorf("%s: a file of %d MiB, an image has at most %d MiB", f.Name(), info.Size()>>20, MaxFileSize>>20)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFileSize {
		return nil, fmt.Errorf("%s: more than %d MiB, which is the most an image has", f.Name(), MaxFileSize>>20)
	}
	return data, nil
}
