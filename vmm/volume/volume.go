// Package volume makes and examines storages on disk images: what the guest's drivers of nonvolatile storage and its key-value store
// keep (docs/storage.md).
package volume

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strconv"

	"kapsel/files"
	"kapsel/guest/abi/storage"
	"kapsel/vmm/disk"
)

// What Options have where they say nothing, in bytes.
const (
	DefaultSize         = 64 << 20
	DefaultRegionSize   = 1 << 20
	DefaultKeyValueSize = 1 << 20
)

// MaxSize is the size of the largest storage in bytes.
const MaxSize = storage.MaxPages * storage.PageSize

// bucketSize is what a bucket takes, in both its copies.
const bucketSize = 2 * storage.PageSize

// Options say how a storage is to be. Sizes are in bytes, in whole pages of 4096.
type Options struct {
	// Size is that of the storage, and the size that a file gets; 0: that of the file, or DefaultSize if it has none.
	Size uint64
	// RegionSize is the size of each region that a driver allocates; 0: DefaultRegionSize.
	RegionSize uint64
	// KeyValueSize is the size of the key-value store, in whole buckets of 8192, at least two; 0: DefaultKeyValueSize.
	KeyValueSize uint64
	// Force overwrites whatever there is.
	Force bool
}

// SizeError says that a storage cannot be of the sizes that it is to have.
type SizeError struct{ words string }

// Error says what is wanted.
func (e *SizeError) Error() string { return e.words }

// HeldError says that there is something on the image, which Format does not overwrite without Force.
type HeldError struct {
	Holds string // what it is, as a part of a sentence
}

// Error says what is there.
func (e *HeldError) Error() string { return "it holds " + e.Holds + ": nothing was written" }

// Format makes an empty storage of the file or block device at path. A file that is not there is made. What is neither empty nor
// all zeroes is refused with a HeldError, and stays as it is, unless the options say Force. The image must not be in use
// (disk.ErrInUse). The superblock is written last: if Format does not come to its end, there is no storage.
func Format(path string, o Options) (*Volume, error) {
	image, err := disk.Create(path)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	v, err := format(image, o, rand.Reader)
	if err != nil {
		if image.Created() {
			os.Remove(path)
		}
		return nil, fmt.Errorf("disk %s: %w", strconv.Quote(path), err)
	}
	return v, nil
}

// An image is what this package uses of a disk.Image.
type image interface {
	Size() uint64
	Regular() bool
	NextData(at uint64) (from, to uint64, err error)
	Read(pieces [][]byte, at uint64) error
	Write(pieces [][]byte, at uint64) error
	Resize(size uint64) error
	Flush() error
}

// format makes the storage. What is random comes from random.
func format(disk image, o Options, random io.Reader) (*Volume, error) {
	blank, err := mayOverwrite(disk, o.Force)
	if err != nil {
		return nil, err
	}
	s, err := layout(o, disk.Size())
	if err != nil {
		return nil, err
	}
	size := s.Pages * storage.PageSize
	if !disk.Regular() && size > disk.Size() {
		return nil, &SizeError{fmt.Sprintf("a storage of %s is wanted, and the block device has %s", files.Size(size), files.Size(disk.Size()))}
	}
	if err := identify(s, random); err != nil {
		return nil, err
	}
	if err := wipe(disk, size, blank); err != nil {
		return nil, err
	}
	sector := make([]byte, storage.SectorSize)
	s.Encode(sector)
	if err := disk.Write([][]byte{sector}, storage.SuperblockPage*storage.PageSize); err != nil {
		return nil, err
	}
	return &Volume{Superblock: *s, Version: storage.Version, Size: disk.Size(), FreePages: s.Pages - s.RegionsPage}, disk.Flush()
}

// mayOverwrite reports whether an image is known to be blank, or refuses what is not without force.
func mayOverwrite(disk image, force bool) (blank bool, err error) {
	if force {
		return false, nil
	}
	if blank, err = isBlank(disk); blank || err != nil {
		return blank, err
	}
	holds, err := whatItHolds(disk)
	if err != nil {
		return false, err
	}
	return false, &HeldError{holds}
}

// layout is the superblock of a storage, without its random parts, on an image that has a size.
func layout(o Options, has uint64) (*storage.Superblock, error) {
	size, region, keyValue := o.Size, or(o.RegionSize, DefaultRegionSize), or(o.KeyValueSize, DefaultKeyValueSize)
	if size == 0 {
		size = or(has/storage.PageSize*storage.PageSize, DefaultSize)
	}
	for _, part := range []struct {
		name                 string
		size, unit, min, max uint64
	}{
		{"a storage", size, storage.PageSize, storage.PageSize, MaxSize},
		{"a region", region, storage.PageSize, storage.PageSize, MaxSize},
		{"the key-value store", keyValue, bucketSize, storage.MinBuckets * bucketSize, storage.MaxBuckets * bucketSize},
	} {
		if part.size%part.unit != 0 || part.size < part.min || part.size > part.max {
			return nil, &SizeError{fmt.Sprintf("%s of %s: want a multiple of %s, from %s to %s", part.name, files.Size(part.size),
				files.Size(part.unit), files.Size(part.min), files.Size(part.max))}
		}
	}
	s := &storage.Superblock{
		Pages:       size / storage.PageSize,
		RegionPages: region / storage.PageSize,
		BucketsPage: storage.FirstFreePage,
		Buckets:     keyValue / bucketSize,
		RegionsPage: storage.FirstFreePage + keyValue/storage.PageSize,
	}
	if least := s.RegionsPage + s.RegionPages; s.Pages < least {
		return nil, &SizeError{fmt.Sprintf("a storage of %s has no room for a key-value store of %s and a region of %s: these take %s",
			files.Size(size), files.Size(keyValue), files.Size(region), files.Size(least*storage.PageSize))}
	}
	return s, nil
}

// or is n, or what stands for 0.
func or(n, zero uint64) uint64 {
	if n == 0 {
		return zero
	}
	return n
}

// identify fills in what is random.
func identify(s *storage.Superblock, random io.Reader) error {
	if _, err := io.ReadFull(random, s.Identity[:]); err != nil {
		return err
	}
	_, err := io.ReadFull(random, s.HashKey[:])
	return err
}

// wipe makes an image, which is blank already or not, read as zeroes up to a size, durably, and a file be of that size. The
// superblock goes first, so that there never is one in front of half of its storage.
func wipe(disk image, size uint64, blank bool) error {
	var err error
	switch {
	case disk.Regular():
		err = resize(disk, size, blank)
	case !blank:
		err = overwrite(disk, size)
	}
	if err != nil {
		return err
	}
	return disk.Flush()
}

// resize gives a file a size, and what it holds back: that only once it is known that a file can be so long.
func resize(disk image, size uint64, blank bool) error {
	sizes := []uint64{max(size, disk.Size()), 0, size}
	if blank {
		sizes = sizes[2:]
	}
	for _, n := range sizes {
		if err := disk.Resize(n); err != nil {
			return err
		}
	}
	return nil
}

// overwrite writes zeroes up to a size, the first page durably before the others.
func overwrite(disk image, size uint64) error {
	if err := zero(disk, 0, storage.PageSize); err != nil {
		return err
	}
	if err := disk.Flush(); err != nil {
		return err
	}
	return zero(disk, storage.PageSize, size)
}

// chunk is how much is read or written at once, in bytes.
const chunk = 1 << 20

// zero writes zeroes to a range of an image.
func zero(disk image, from, to uint64) error {
	zeroes := make([]byte, chunk)
	for at := from; at < to; at += chunk {
		if err := disk.Write([][]byte{zeroes[:min(chunk, to-at)]}, at); err != nil {
			return err
		}
	}
	return nil
}

// isBlank reports whether an image has no bytes but zeroes.
func isBlank(disk image) (bool, error) {
	piece, zeroes := make([]byte, chunk), make([]byte, chunk)
	for at := uint64(0); ; {
		from, to, err := disk.NextData(at)
		if err != nil || from == to {
			return err == nil, err
		}
		n := min(chunk, to-from)
		if err := disk.Read([][]byte{piece[:n]}, from); err != nil {
			return false, err
		}
		if !bytes.Equal(piece[:n], zeroes[:n]) {
			return false, nil
		}
		at = from + n
	}
}
