// Package storage is the layout of a storage on disk, which the drivers of nonvolatile storage and the key-value store keep to, and
// the host's side (vmm/volume). The normative text is docs/storage.md. Numbers are little-endian. What is decoded is as hostile
// as a task: each field is checked, and what is accepted encodes to the same bytes again.
//
// A disk of pages has a superblock, a region table, the buckets of the key-value store, and regions, in this order.
package storage

import "kapsel/guest/kernel/crc32c"

// Version is that of the layout. Another one is not touched.
const Version = 1

// Units, in bytes. A device writes a sector whole or not at all.
const (
	SectorSize = 512
	PageSize   = 4096
)

// Places, in pages. The superblock is the first sector of its page.
const (
	SuperblockPage = 0
	TablePage      = 1 // first of the region table
	TablePages     = 8
	FirstFreePage  = TablePage + TablePages // what the superblock gives places to lies from here on
)

// Regions is how many regions the table has room for: a sector for each.
const Regions = TablePages * PageSize / SectorSize

// Limits of a storage.
const (
	MaxPages   = 1 << 36 // 256 TiB
	MinBuckets = 2
	MaxBuckets = 1 << 20
)

// checksumSize is the size of the checksum, with which each structure ends.
const checksumSize = 4

// Problem is why bytes are not the structure that was looked for.
type Problem uint8

// Problems.
const (
	Whole        Problem = iota // none
	Blank                       // zeroes: no storage yet, a region that is free, a bucket that never was written
	Foreign                     // something else
	OtherVersion                // a storage, but of another layout
	Torn                        // a write that did not end: some sectors are new, some are what was before
	BadChecksum                 // damaged
	BadField                    // a field has what cannot be
	Truncated                   // the device ends before the storage
)

var problems = [...]string{
	Whole:        "whole",
	Blank:        "nothing there, zeroes alone",
	Foreign:      "something else than a Kapsel storage",
	OtherVersion: "a Kapsel storage of another version",
	Torn:         "written in part",
	BadChecksum:  "damaged: the checksum is another",
	BadField:     "damaged: a field has what cannot be",
	Truncated:    "cut short: the device ends before the storage",
}

// String says what was found, as a part of a sentence.
func (p Problem) String() string {
	if int(p) < len(problems) {
		return problems[p]
	}
	return "an unknown problem"
}

// Magic numbers, as the eight letters that they are on disk.
const (
	superblockMagic = 0x5453_4c45_5350_414b // KAPSELST
	regionMagic     = 0x4752_4c45_5350_414b // KAPSELRG
	bucketMagic     = 0x4b42_4c45_5350_414b // KAPSELBK
)

// zeroes reports whether all of b is zero.
func zeroes(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if *(*[8]byte)(b) != [8]byte{} {
			return false
		}
	}
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// seal writes the checksum of the bytes in use, the first of a structure, at its end.
func seal(structure []byte, used int) {
	put32(structure, len(structure)-checksumSize, crc32c.Sum(structure[:used]))
}

// sealed reports whether the checksum is that of the bytes in use, and all between them and the checksum is zero.
func sealed(structure []byte, used int) bool {
	at := len(structure) - checksumSize
	return zeroes(structure[used:at]) && get32(structure, at) == crc32c.Sum(structure[:used])
}

// The functions below read and write numbers at an offset, by a pointer to an array, so that the compiler makes one access of it.
// The caller has checked that b is long enough. Each is one function, not a copy in every caller: with its masks of indices
// (docs/security.md) it is longer than a call.

//go:noinline
func get16(b []byte, at int) uint16 {
	w := (*[2]byte)(b[at:])
	return uint16(w[0]) | uint16(w[1])<<8
}

//go:noinline
func get32(b []byte, at int) uint32 {
	w := (*[4]byte)(b[at:])
	return uint32(w[0]) | uint32(w[1])<<8 | uint32(w[2])<<16 | uint32(w[3])<<24
}

//go:noinline
func get64(b []byte, at int) uint64 {
	w := (*[8]byte)(b[at:])
	return uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 |
		uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
}

//go:noinline
func put16(b []byte, at int, v uint16) {
	w := (*[2]byte)(b[at:])
	w[0], w[1] = byte(v), byte(v>>8)
}

//go:noinline
func put32(b []byte, at int, v uint32) {
	w := (*[4]byte)(b[at:])
	w[0], w[1], w[2], w[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

//go:noinline
func put64(b []byte, at int, v uint64) {
	put32(b, at, uint32(v))
	put32(b, at+4, uint32(v>>32))
}
