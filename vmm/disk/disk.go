// Package disk has raw disk images: a file, or a block device of the host, whose bytes are a guest's sectors. One
// program at a time writes to one.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// SectorSize is the unit of an image's size, in bytes.
const SectorSize = 512

// Image is an open image. One goroutine at a time may use it.
type Image struct {
	file     *os.File
	size     uint64
	block    uint64 // of the file system, in bytes
	readOnly bool
	created  bool // Create made the file
	regular  bool // a file, no block device
	punches  bool // the file system takes ranges back
}

// ErrInUse is the error for an image that another program has open to write, or that is to be written and that another one reads.
var ErrInUse = errors.New("it is in use by another program, as a machine that runs")

// Open opens the file or block device at path for a guest and locks it: alone if it can be written, else with others that read.
// The lock (flock(2)) ends with Close or the process. A size that is no multiple of SectorSize is refused: the guest
// would not see the rest of the file, or see bytes that are not there. Errors say what to do.
func Open(path string, readOnly bool) (*Image, error) {
	d := &Image{readOnly: readOnly}
	err := d.open(path)
	if err == nil {
		if err = checkSize(d.size); err != nil {
			d.Close()
		}
	}
	return d.opened(path, explain(err, readOnly))
}

// Examine opens the file or block device at path to be read, with others, whatever size it has, and locks it as Open does.
func Examine(path string) (*Image, error) {
	d := &Image{readOnly: true}
	return d.opened(path, d.open(path))
}

// Create opens the file or block device at path to be written, whatever size it has, and locks it as Open does. A file that is
// not there is made, without any bytes: then Created reports true.
func Create(path string) (*Image, error) {
	d := &Image{}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) { // no file, nor a link to one that is not there
		d.created = true
	}
	err := d.open(path)
	if errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("%w: the host has it mounted: unmount it", unix.EBUSY)
	}
	return d.opened(path, err)
}

// opened is what a function that opens an image returns.
func (d *Image) opened(path string, err error) (*Image, error) {
	if err != nil {
		if pathError, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathError.Err
		}
		return nil, fmt.Errorf("disk %s: %w", strconv.Quote(path), err)
	}
	return d, nil
}

// open opens and locks, and measures the image.
func (d *Image) open(path string) (err error) {
	if d.file, err = d.openFile(path); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.file.Close()
		}
	}()
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	if err := checkKind(info.Mode()); err != nil { // what was opened may be another file by now
		return err
	}
	if err := d.lock(); err != nil {
		return err
	}
	if err := d.measure(); err != nil {
		return err
	}
	d.probe(info.Mode())
	return nil
}

func (d *Image) openFile(path string) (*os.File, error) {
	if d.created {
		return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := checkKind(info.Mode()); err != nil { // before it is opened: a pipe waits for its other end, a tape winds
		return nil, err
	}
	flags := os.O_RDWR
	if d.readOnly {
		flags = os.O_RDONLY
	} else if info.Mode()&fs.ModeDevice != 0 {
		flags |= unix.O_EXCL // open(2): not while the host has it mounted
	}
	return os.OpenFile(path, flags, 0)
}

func checkKind(mode fs.FileMode) error {
	switch {
	case mode.IsRegular(), mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		return nil
	case mode.IsDir():
		return errors.New("want a raw image or a block device, found a directory")
	}
	return fmt.Errorf("want a raw image or a block device, found a file of another kind (%v)", mode.Type())
}

// explain is why an image cannot be opened for a guest, with what to do; nil if it can.
func explain(err error, readOnly bool) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: truncate -s 64M FILE makes an empty one", err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: the host has it mounted: unmount it, or give it with ,ro", err)
	case !readOnly && errors.Is(err, ErrInUse):
		return fmt.Errorf("%w: only with ,ro can several share one", err)
	case !readOnly && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)):
		return fmt.Errorf("%w: the guest would write to it: give it with ,ro if it should not", err)
	}
	return err
}

// lock keeps other programs that lock it too, other monitors among them, from writing to the image meanwhile.
func (d *Image) lock() error {
	how := unix.LOCK_EX
	if d.readOnly {
		how = unix.LOCK_SH
	}
	err := unix.Flock(int(d.file.Fd()), how|unix.LOCK_NB)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return ErrInUse
	}
	return fmt.Errorf("cannot be locked: %w", err)
}

// measure finds the image's size. A block device tells it by where it ends.
func (d *Image) measure() error {
	size, err := d.file.Seek(0, io.SeekEnd)
	d.size = uint64(size)
	return err
}

// checkSize is why an image of a size is none for a guest.
func checkSize(size uint64) error {
	switch {
	case size == 0:
		return errors.New("it is empty: truncate -s 64M FILE gives it a size")
	case size%SectorSize != 0:
		return fmt.Errorf("its size, %d bytes, is no multiple of %d, so that it is no raw image, or a part is missing: truncate -s %%%[2]d FILE makes it longer",
			size, SectorSize)
	}
	return nil
}

// probe finds out whether the file system can take a range back: it is asked for one behind the end, where nothing is.
// A block device refuses that, and is not asked for anything else.
func (d *Image) probe(mode fs.FileMode) {
	var s unix.Statfs_t
	d.regular = mode.IsRegular()
	d.block = 4096
	if unix.Fstatfs(int(d.file.Fd()), &s) == nil && s.Bsize >= SectorSize && s.Bsize <= 1<<20 {
		d.block = uint64(s.Bsize)
	}
	if d.regular && !d.readOnly && d.size <= math.MaxInt64-d.block {
		d.punches = d.fallocate(unix.FALLOC_FL_PUNCH_HOLE, d.size, d.block) == nil
	}
}

// Size is the image's size in bytes.
func (d *Image) Size() uint64 { return d.size }

// BlockSize is the file system's unit, in bytes: what Discard gives back comes in whole blocks.
func (d *Image) BlockSize() uint64 { return d.block }

// ReadOnly reports whether the image was opened to be read alone.
func (d *Image) ReadOnly() bool { return d.readOnly }

// Created reports whether Create made the file.
func (d *Image) Created() bool { return d.created }

// Regular reports whether the image is a file, which Resize gives another size, and not a block device.
func (d *Image) Regular() bool { return d.regular }

// Resize gives a file another size: what is behind it is lost, and what is new reads as zeroes.
func (d *Image) Resize(size uint64) error {
	if err := d.file.Truncate(int64(size)); err != nil {
		return err
	}
	d.size = size
	return nil
}

// NextData is the next range from an offset on that may have something else than zeroes. It is empty if there is none. The file
// system says it; a block device does not know, and may have something everywhere.
func (d *Image) NextData(at uint64) (from, to uint64, err error) {
	begin, err := d.file.Seek(int64(at), unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return d.size, d.size, nil
	case errors.Is(err, unix.EINVAL):
		return at, d.size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err := d.file.Seek(begin, unix.SEEK_HOLE)
	return uint64(begin), uint64(end), err
}

// CanDiscard reports whether Discard and Zero work.
func (d *Image) CanDiscard() bool { return d.punches }

// File is what is open, for a program that is to use it in the place of this one. The lock goes with it.
func (d *Image) File() *os.File { return d.file }

// Read fills the pieces with what stands at an offset. It changes the slice of pieces, not the pieces.
func (d *Image) Read(pieces [][]byte, at uint64) error {
	return d.transfer(unix.Preadv, pieces, at)
}

// Write writes the pieces, one behind the other, at an offset. It changes the slice of pieces.
func (d *Image) Write(pieces [][]byte, at uint64) error {
	return d.transfer(unix.Pwritev, pieces, at)
}

// maxPieces is how many pieces one system call takes (IOV_MAX, limits.h).
const maxPieces = 1024

func (d *Image) transfer(call func(int, [][]byte, int64) (int, error), pieces [][]byte, at uint64) error {
	for pieces = skip(pieces, 0); len(pieces) > 0; pieces = skip(pieces, 0) {
		n, err := call(int(d.file.Fd()), pieces[:min(len(pieces), maxPieces)], int64(at))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0: // the file has become shorter
			return io.ErrUnexpectedEOF
		}
		at += uint64(n)
		pieces = skip(pieces, n)
	}
	return nil
}

// skip leaves out the first n bytes, and empty pieces in front.
func skip(pieces [][]byte, n int) [][]byte {
	for len(pieces) > 0 && n >= len(pieces[0]) {
		n -= len(pieces[0])
		pieces = pieces[1:]
	}
	if n > 0 {
		pieces[0] = pieces[0][n:]
	}
	return pieces
}

// Flush returns when all that was written is on the medium, as far as the host knows.
func (d *Image) Flush() error { return unix.Fdatasync(int(d.file.Fd())) }

// Discard gives a range's memory back: it reads as zeroes.
func (d *Image) Discard(at, n uint64) error {
	return d.fallocate(unix.FALLOC_FL_PUNCH_HOLE, at, n)
}

// Zero makes a range read as zeroes and keeps memory for it. A file system that cannot do so in one step takes the range
// back and then gives it memory.
func (d *Image) Zero(at, n uint64) error {
	err := d.fallocate(unix.FALLOC_FL_ZERO_RANGE, at, n)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	if err := d.Discard(at, n); err != nil {
		return err
	}
	return d.fallocate(0, at, n)
}

func (d *Image) fallocate(mode uint32, at, n uint64) error {
	for {
		err := unix.Fallocate(int(d.file.Fd()), mode|unix.FALLOC_FL_KEEP_SIZE, int64(at), int64(n))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Close gives the image back, and its lock.
func (d *Image) Close() error { return d.file.Close() }
