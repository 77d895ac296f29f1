package snapshot

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"math/bits"

	"kapsel/guest/abi"
)

// The layer of memory has the pages of RAM that are not all zeroes. In front stands a bitmap of all pages, from bit 0 of byte 0 on, with zeroes up to a
// page's boundary. The pages follow in their order. So the same memory has one encoding only, its length says how many pages there are, and each
// page lies on a page's boundary, to be mapped or read at once with its neighbours. RAM is counted from its first page to its last, without the MMIO hole.

// zeroPage is what is not stored.
var zeroPage [abi.PageSize]byte

// bitmapSize is the length of the bitmap of RAM of a size, with the zeroes behind it.
func bitmapSize(ram uint64) uint64 {
	bytes := (ram/abi.PageSize + 7) / 8
	return (bytes + abi.PageSize - 1) &^ (abi.PageSize - 1)
}

// pagesOf makes the bitmap of a memory.
func pagesOf(m *Memory) []byte {
	bitmap := make([]byte, bitmapSize(m.Len()))
	for page := range m.Len() / abi.PageSize {
		if p := m.Page(page); p != nil && !bytes.Equal(p, zeroPage[:]) {
			bitmap[page/8] |= 1 << (page % 8)
		}
	}
	return bitmap
}

// runs are the ranges of RAM, in bytes, that a bitmap names: each as long as can be.
func runs(bitmap []byte) iter.Seq2[uint64, uint64] {
	return func(yield func(start, end uint64) bool) {
		pages := uint64(len(bitmap)) * 8
		set := func(page uint64) bool { return bitmap[page/8]&(1<<(page%8)) != 0 }
		for page := uint64(0); page < pages; {
			if bitmap[page/8]>>(page%8) == 0 {
				page = (page/8 + 1) * 8
				continue
			}
			if !set(page) {
				page++
				continue
			}
			start := page
			for page < pages && set(page) {
				page++
			}
			if !yield(start*abi.PageSize, page*abi.PageSize) {
				return
			}
		}
	}
}

// writePages writes the layer of a memory.
func writePages(w io.Writer, m *Memory) error {
	bitmap := pagesOf(m)
	if _, err := w.Write(bitmap); err != nil {
		return err
	}
	for start, end := range runs(bitmap) {
		if _, err := io.Copy(w, io.NewSectionReader(m, int64(start), int64(end-start))); err != nil {
			return err
		}
	}
	return nil
}

// readBitmap reads the bitmap of RAM of a size from the beginning of a layer of length bytes, and holds both against each other.
func readBitmap(r io.Reader, length, ram uint64) ([]byte, error) {
	size := bitmapSize(ram)
	if length < size {
		return nil, fmt.Errorf("%d bytes long, but the bitmap of %d bytes of memory alone has %d", length, ram, size)
	}
	bitmap := make([]byte, size)
	if _, err := io.ReadFull(r, bitmap); err != nil {
		return nil, err
	}
	var pages, last uint64
	for i, b := range bitmap {
		pages += uint64(bits.OnesCount8(b))
		if b != 0 {
			last = uint64(i)*8 + uint64(bits.Len8(b))
		}
	}
	if last > ram/abi.PageSize {
		return nil, fmt.Errorf("the bitmap names page %d, but the memory has %d", last-1, ram/abi.PageSize)
	}
	if want := size + pages*abi.PageSize; length != want {
		return nil, fmt.Errorf("%d bytes long, but the bitmap names %d pages, which take %d", length, pages, want)
	}
	return bitmap, nil
}

// readPages reads the pages of a bitmap into RAM that is zero.
func readPages(r io.Reader, bitmap []byte, ram io.WriterAt) error {
	buffer := make([]byte, 256<<10)
	for start, end := range runs(bitmap) {
		for at := start; at < end; {
			piece := buffer[:min(uint64(len(buffer)), end-at)]
			if _, err := io.ReadFull(r, piece); err != nil {
				return err
			}
			if _, err := ram.WriteAt(piece, int64(at)); err != nil {
				return err
			}
			at += uint64(len(piece))
		}
	}
	return nil
}
