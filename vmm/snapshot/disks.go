package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"kapsel/vmm/disk"
)

// The layer of a private disk has the pages that were written. In front stand their number, then the number of each page, 8 bytes each, little-endian and in
// order, with zeroes up to a page's boundary. The pages follow. So the same disk has one encoding only. Layers stand behind that of memory, in the order of the disks.

// maxPages is the most pages of a disk that a layer can have, as many bytes as of memory.
const maxPages = maxMemory / disk.PageSize

// numbersSize is the length of the numbers of so many pages, with the zeroes behind them.
func numbersSize(pages uint64) uint64 {
	return (8 + 8*pages + disk.PageSize - 1) &^ (disk.PageSize - 1)
}

// layerSize is the length of a layer of so many pages, at most maxPages.
func layerSize(pages uint64) uint64 { return numbersSize(pages) + pages*disk.PageSize }

// pagesOfDisk is how many pages a disk has, and at most how many a layer of it.
func pagesOfDisk(sectors uint64) uint64 {
	const each = disk.PageSize / disk.SectorSize
	return min(sectors/each+(sectors%each+each-1)/each, maxPages)
}

// writeDisk writes the layer of a private disk.
func writeDisk(w io.Writer, l *disk.Layer) error {
	pages := uint64(l.Len())
	numbers := make([]byte, 0, numbersSize(pages))
	numbers = binary.LittleEndian.AppendUint64(numbers, pages)
	for number := range l.Pages() {
		numbers = binary.LittleEndian.AppendUint64(numbers, number)
	}
	if _, err := w.Write(numbers[:cap(numbers)]); err != nil {
		return err
	}
	for _, p := range l.Pages() {
		if _, err := w.Write(p[:]); err != nil {
			return err
		}
	}
	return nil
}

// readDisk reads a layer of length bytes, of a disk of so many sectors.
func readDisk(r io.Reader, length, sectors uint64) (*disk.Layer, error) {
	numbers, err := readNumbers(r, length, pagesOfDisk(sectors))
	if err != nil {
		return nil, err
	}
	pages := make(map[uint64]*disk.Page, len(numbers)/8)
	for ; len(numbers) > 0; numbers = numbers[8:] {
		p := new(disk.Page)
		if _, err := io.ReadFull(r, p[:]); err != nil {
			return nil, err
		}
		pages[binary.LittleEndian.Uint64(numbers)] = p
	}
	return disk.NewLayer(pages), nil
}

// readNumbers reads the numbers of a layer's pages, which are of a disk of so many pages, and holds them against the layer's length.
func readNumbers(r io.Reader, length, of uint64) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, errors.New("it is shorter than the number of its pages")
	}
	pages := binary.LittleEndian.Uint64(head[:])
	if pages > of {
		return nil, fmt.Errorf("it has %d pages of a disk that has %d", pages, of)
	}
	if want := layerSize(pages); length != want {
		return nil, fmt.Errorf("%d bytes long, but it has %d pages, which take %d", length, pages, want)
	}
	numbers := make([]byte, numbersSize(pages)-uint64(len(head)))
	if _, err := io.ReadFull(r, numbers); err != nil {
		return nil, err
	}
	numbers, rest := numbers[:8*pages], numbers[8*pages:]
	if !bytes.Equal(rest, zeroPage[:len(rest)]) {
		return nil, errors.New("something else than zeroes stands behind the numbers of its pages")
	}
	last := uint64(math.MaxUint64) // in front of page 0
	for i := 0; i < len(numbers); i += 8 {
		number := binary.LittleEndian.Uint64(numbers[i:])
		if i > 0 && number <= last {
			return nil, fmt.Errorf("page %d stands behind page %d", number, last)
		}
		last = number
	}
	return numbers, nil
}
