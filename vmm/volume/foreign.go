package volume

import (
	"fmt"

	"kapsel/files"
	"kapsel/guest/abi/storage"
)

// signatures are what an image may hold that somebody would miss. The first that fits counts.
var signatures = []struct {
	at    uint64
	bytes string
	what  string
}{
	{32769, "CD001", "an ISO 9660 file system"}, // before a partition table: those that boot have both
	{512, "EFI PART", "a partition table (GPT)"},
	{1080, "\x53\xef", "an ext2, ext3 or ext4 file system"},
	{0, "XFSB", "an XFS file system"},
	{65600, "_BHRfS_M", "a btrfs file system"},
	{0, "hsqs", "a squashfs file system"},
	{3, "NTFS    ", "an NTFS file system"},
	{54, "FAT", "a FAT file system"},
	{82, "FAT32", "a FAT file system"},
	{510, "\x55\xaa", "a partition table or a boot sector"},
	{0, "LUKS\xba\xbe", "an encrypted disk (LUKS)"},
	{0, "QFI\xfb", "a QCOW disk image"},
	{0, "KDMV", "a VMDK disk image"},
	{0, "\x7fELF", "an ELF file"},
	{0, "\x1f\x8b", "a file that gzip packed"},
}

// whatItHolds says what an image holds that is not blank, as a part of a sentence.
func whatItHolds(disk image) (string, error) {
	s, problem, sector, err := readSuperblock(disk)
	if err != nil {
		return "", err
	}
	switch problem {
	case storage.Whole:
		return "a Kapsel storage of " + files.Size(s.Pages*storage.PageSize), nil
	case storage.OtherVersion:
		return fmt.Sprintf("a Kapsel storage of version %d", storage.VersionOf(sector)), nil
	case storage.Truncated:
		if s.Pages == 0 {
			return "the first bytes of a Kapsel storage", nil
		}
		return fmt.Sprintf("a Kapsel storage of %s, of which %s are there", files.Size(s.Pages*storage.PageSize), files.Size(disk.Size())), nil
	case storage.BadChecksum, storage.BadField:
		return fmt.Sprintf("a Kapsel storage with a superblock that is %v", problem), nil
	}
	for _, signature := range signatures {
		found := make([]byte, len(signature.bytes))
		if signature.at+uint64(len(found)) > disk.Size() {
			continue
		}
		if err := disk.Read([][]byte{found}, signature.at); err != nil {
			return "", err
		}
		if string(found) == signature.bytes {
			return signature.what, nil
		}
	}
	return "something else than a Kapsel storage", nil
}

// readSuperblock reads an image's first sector, and the superblock in it.
func readSuperblock(disk image) (s *storage.Superblock, problem storage.Problem, sector []byte, err error) {
	sector = make([]byte, storage.SectorSize)
	err = disk.Read([][]byte{sector[:min(storage.SectorSize, disk.Size())]}, storage.SuperblockPage*storage.PageSize)
	s = new(storage.Superblock)
	problem = s.Decode(sector, disk.Size()/storage.PageSize)
	if problem == storage.BadChecksum && disk.Size() < storage.SectorSize {
		problem = storage.Truncated
	}
	return s, problem, sector, err
}

// ProblemError says that an image holds no storage that a guest could use.
type ProblemError struct {
	Problem storage.Problem
	Holds   string // what it holds, as a part of a sentence; nothing if it is blank
	size    uint64 // of the storage, if it is truncated and its superblock is not
}

// Error says what was found and what to do.
func (e *ProblemError) Error() string {
	switch e.Problem {
	case storage.Blank:
		return "it is new, without anything but zeroes: kapsel disk format FILE makes a storage of it"
	case storage.OtherVersion:
		return fmt.Sprintf("it holds %s, and this kapsel has version %d: use the release that made it", e.Holds, storage.Version)
	case storage.Truncated:
		advice := "copy it again, whole"
		if e.size != 0 {
			advice += fmt.Sprintf(", or put zeroes in the place of what is missing: truncate -s %d FILE", e.size)
		}
		return "it holds " + e.Holds + ": " + advice
	case storage.Foreign:
		return "it holds " + e.Holds + ": want a file that kapsel disk format made"
	}
	return "it holds " + e.Holds + ": take a copy, if there is one, as kapsel disk format --force FILE makes it empty"
}

// superblock reads the superblock of an image, or says with a ProblemError why it has none.
func superblock(disk image) (*storage.Superblock, error) {
	s, problem, _, err := readSuperblock(disk)
	if err != nil || problem == storage.Whole {
		return s, err
	}
	if problem == storage.Blank {
		blank, err := isBlank(disk)
		if err != nil {
			return nil, err
		}
		if blank {
			return nil, &ProblemError{Problem: storage.Blank}
		}
		problem = storage.Foreign
	}
	e := &ProblemError{Problem: problem}
	if problem == storage.Truncated {
		e.size = s.Pages * storage.PageSize
	}
	if e.Holds, err = whatItHolds(disk); err != nil {
		return nil, err
	}
	return nil, e
}
