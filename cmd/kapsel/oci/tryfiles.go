package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kapsel/cmd/kapsel/oci/bundle"
	"kapsel/cmd/kapsel/oci/namespace"
)

// tryFiles has a thread become what the container's process is to be, and looks whether that may open the files of kapsel run. The runtime may have had more rights to do so, and
// kapsel run opens them anew, by their descriptors.
func (b *birth) tryFiles() error {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("PR_GET_DUMPABLE: %w", err)
	}
	err = namespace.OnThread(func() error {
		err := b.Settings.drop()
		for fd := bundle.FirstFile; err == nil && fd < bundle.FirstFile+b.Files; fd++ {
			err = b.Settings.mayOpen(fd)
		}
		return err
	})
	if dumpable == 1 { // which a change of users has ended, for all threads, so that who has the container's user could not look into /proc/PID
		err = errors.Join(err, unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(dumpable), 0, 0, 0))
	}
	return err
}

// maxTried bounds the files of a directory that are looked at: a snapshot has a few.
const maxTried = 1024

// mayOpen says whether the calling thread may open the file of a descriptor in the same way, and of a directory what is in it.
func (s *settings) mayOpen(fd int) error {
	place := fmt.Sprintf("/proc/self/fd/%d", fd)
	at, err := tryOpen(fd, place)
	if err == nil {
		return nil
	}
	name, unnamed := os.Readlink(place)
	if unnamed != nil {
		name = place
	}
	if wrapped := (*fs.PathError)(nil); errors.As(err, &wrapped) { // of the place in /proc
		err = wrapped.Err
	}
	return fmt.Errorf("process.user %d:%d may not open %q, which the container needs: %w: want another user, mode or owner, and of a disk that is only read the mount's option ro",
		s.User.UID, s.User.GID, name+strings.TrimPrefix(at, place), err)
}

// tryOpen looks whether a file, which is open at a place in /proc, may be opened there, and of a directory what is in it. With an error it says where that was.
func tryOpen(fd int, place string) (at string, err error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return place, err
	}
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return place, err
	}
	want := uint32(unix.R_OK)
	if flags&unix.O_ACCMODE == unix.O_RDWR {
		want |= unix.W_OK
	}
	if err := unix.Faccessat(unix.AT_FDCWD, place, want, unix.AT_EACCESS); err != nil || info.Mode&unix.S_IFMT != unix.S_IFDIR {
		return place, err
	}
	looked := 0
	err = filepath.WalkDir(place+"/", func(path string, entry fs.DirEntry, err error) error {
		at = path
		switch looked++; {
		case err != nil:
			return err
		case looked > maxTried:
			return filepath.SkipAll
		case entry.Type().IsRegular():
			return unix.Faccessat(unix.AT_FDCWD, path, want, unix.AT_EACCESS)
		}
		return nil
	})
	return at, err
}
