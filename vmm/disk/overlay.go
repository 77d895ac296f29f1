package disk

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
)

// PageSize is the unit of what an Overlay keeps, in bytes.
const PageSize = 4096

// Page is a page of a disk. Behind the disk's end it is zeroes.
type Page [PageSize]byte

// Layer is what an Overlay has of its own at an instant: pages by their numbers. It does not change, and several overlays may have it.
type Layer struct{ pages map[uint64]*Page }

// NewLayer returns a layer of pages, which are the layer's then.
func NewLayer(pages map[uint64]*Page) *Layer { return &Layer{pages} }

// Len is how many pages the layer has.
func (l *Layer) Len() int { return len(l.pages) }

// Pages returns the pages with their numbers, in order. Nobody may write them.
func (l *Layer) Pages() iter.Seq2[uint64, *Page] {
	return func(yield func(uint64, *Page) bool) {
		for _, number := range slices.Sorted(maps.Keys(l.pages)) {
			if !yield(number, l.pages[number]) {
				return
			}
		}
	}
}

// Overlay is a private disk: it reads as its base, which nobody writes, until it is written itself. What is written stays in the memory of this process,
// and goes with the overlay. One goroutine at a time may use it.
type Overlay struct {
	base  *Image
	limit int    // of pages, of below and own together
	below *Layer // of the last Freeze, or Revert
	own   map[uint64]*Page
}

// ErrFull is the error for a write beyond an overlay's limit.
var ErrFull = errors.New("the private disk is full")

// NewOverlay returns an overlay that owns its base and keeps at most limit bytes.
func NewOverlay(base *Image, limit uint64) *Overlay {
	return &Overlay{base: base, limit: int(limit / PageSize), below: &Layer{}, own: map[uint64]*Page{}}
}

// Size is the base's size in bytes.
func (o *Overlay) Size() uint64 { return o.base.size }

// BlockSize is the overlay's unit, in bytes.
func (o *Overlay) BlockSize() uint64 { return PageSize }

// ReadOnly returns false.
func (o *Overlay) ReadOnly() bool { return false }

// CanDiscard returns false: each range that was discarded would have to be kept in mind.
func (o *Overlay) CanDiscard() bool { return false }

// Discard returns an error.
func (o *Overlay) Discard(uint64, uint64) error { return errors.ErrUnsupported }

// Zero returns an error.
func (o *Overlay) Zero(uint64, uint64) error { return errors.ErrUnsupported }

// Flush does nothing: what is written is not to outlive the process.
func (o *Overlay) Flush() error { return nil }

// Close gives the base back.
func (o *Overlay) Close() error { return o.base.Close() }

// find returns a page of the overlay's own; nil if it is the base's.
func (o *Overlay) find(number uint64) *Page {
	if p := o.own[number]; p != nil {
		return p
	}
	return o.below.pages[number]
}

// Read fills the pieces with what stands at an offset, as Image.Read does.
func (o *Overlay) Read(pieces [][]byte, at uint64) error {
	for pieces = skip(pieces, 0); len(pieces) > 0; pieces = skip(pieces, 0) {
		within := at % PageSize
		n := min(uint64(len(pieces[0])), PageSize-within)
		if p := o.find(at / PageSize); p != nil {
			copy(pieces[0][:n], p[within:])
		} else {
			n = o.baseRun(at, uint64(len(pieces[0])))
			if err := o.base.Read([][]byte{pieces[0][:n]}, at); err != nil {
				return err
			}
		}
		pieces = skip(pieces, int(n))
		at += n
	}
	return nil
}

// baseRun is how many of n bytes from an offset on are the base's, those in front of a page of the overlay's own.
func (o *Overlay) baseRun(at, n uint64) uint64 {
	end := at + n
	for next := at - at%PageSize + PageSize; next < end; next += PageSize {
		if o.find(next/PageSize) != nil {
			return next - at
		}
	}
	return n
}

// Write keeps the pieces, one behind the other, at an offset. It changes the slice of pieces.
func (o *Overlay) Write(pieces [][]byte, at uint64) error {
	for pieces = skip(pieces, 0); len(pieces) > 0; pieces = skip(pieces, 0) {
		within := at % PageSize
		p, err := o.page(at/PageSize, within == 0 && len(pieces[0]) >= PageSize)
		if err != nil {
			return err
		}
		n := copy(p[within:], pieces[0])
		pieces = skip(pieces, n)
		at += uint64(n)
	}
	return nil
}

// page returns a page to write to. It holds what it held, if not all of it is written.
func (o *Overlay) page(number uint64, all bool) (*Page, error) {
	if p := o.own[number]; p != nil {
		return p, nil
	}
	if o.below.Len()+len(o.own) >= o.limit {
		return nil, fmt.Errorf("%w: it keeps at most %d bytes: give it more", ErrFull, o.limit*PageSize)
	}
	p := new(Page)
	if !all {
		at := number * PageSize
		if err := o.Read([][]byte{p[:min(PageSize, o.base.size-at)]}, at); err != nil {
			return nil, err
		}
	}
	o.own[number] = p
	return p, nil
}

// Freeze returns all that the overlay has of its own now. What is written later goes to copies.
func (o *Overlay) Freeze() *Layer {
	if len(o.own) > 0 {
		pages := maps.Clone(o.below.pages)
		if pages == nil {
			pages = map[uint64]*Page{}
		}
		maps.Copy(pages, o.own)
		o.Revert(&Layer{pages})
	}
	return o.below
}

// Revert has the overlay be what it was when the layer was frozen, of this one or of another with the same base. Check was asked.
func (o *Overlay) Revert(l *Layer) { o.below, o.own = l, map[uint64]*Page{} }

// Check says why the overlay cannot have the layer; nil if it can.
func (o *Overlay) Check(l *Layer) error {
	if l.Len() > o.limit {
		return fmt.Errorf("%w: %d bytes were written to it, and it keeps at most %d: give it more", ErrFull, l.Len()*PageSize, o.limit*PageSize)
	}
	for number := range l.pages {
		if number > (o.base.size-1)/PageSize {
			return fmt.Errorf("page %d was written, and the disk has %d bytes: %w", number, o.base.size, io.ErrUnexpectedEOF)
		}
	}
	return nil
}
