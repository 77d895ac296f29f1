// Package image reads boot images and lays them out in guest memory, ready for the direct
// door of package kapsel/guest/abi. It trusts neither: an image that does not fit into the
// memory, overlaps itself or lacks the boot note is refused in one clear line.
package image

import "kapsel/guest/abi"

// Image is a checked boot image. Its addresses are those of its ELF file, where a PVH loader
// puts it: physical ones, and abi.KernelBase less than the virtual ones.
type Image struct {
	file       []byte
	entry      uint64 // virtual
	segments   []segment
	start, end uint64 // page aligned: from the first segment's to the last one's end

	heartbeat  uint64 // virtual, 0: none
	generation uint64 // likewise
}

// File is the ELF file that was checked, not to be changed: for a loader of its own, which is
// to find what was checked and nothing else.
func (img *Image) File() []byte { return img.file }

// Holds reports whether an address, virtual or as a PVH loader's, is one of the image's pages.
func (img *Image) Holds(address uint64) bool {
	within := func(a uint64) bool { return a >= img.start && a < img.end }
	return within(address) || within(address-abi.KernelBase)
}

// Heartbeat is the physical address behind a door of the word by which the kernel shows that it
// lives (abi.NoteHeartbeat), 8 bytes within the image. It reports false if the image has none.
func (img *Image) Heartbeat(d Door) (address uint64, ok bool) { return img.word(img.heartbeat, d) }

// Generation is the physical address of the word that is another in each machine of a snapshot (abi.NoteGeneration), likewise.
func (img *Image) Generation(d Door) (address uint64, ok bool) { return img.word(img.generation, d) }

// word returns the physical address of a virtual one, 0 and false for 0.
func (img *Image) word(virtual uint64, d Door) (address uint64, ok bool) {
	if virtual == 0 {
		return 0, false
	}
	return img.At(d) + virtual - abi.KernelBase - img.start, true
}

// segment is a range of the image and its first bytes; the rest is zero.
type segment struct {
	address uint64
	size    uint64 // bytes in memory, at least len(data)
	data    []byte
}
