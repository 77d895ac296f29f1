package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openWithin opens a regular file, or with directory a directory, of the root file system to be read. The image may have links to anywhere: they lead to what they would
// lead to if the directory were "/" (openat2(2), RESOLVE_IN_ROOT), and those of /proc lead nowhere. What is something else is not opened, which a device may answer
// by doing something. Errors name the file.
func openWithin(root, path string, directory bool) (*os.File, error) {
	f, err := within(root, path, directory)
	if err != nil {
		return nil, fmt.Errorf("%q in the root file system: %w", path, withoutPath(err))
	}
	return f, nil
}

func within(root, path string, directory bool) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, err
	}
	found := os.NewFile(uintptr(fd), path)
	defer found.Close()
	return reopen(found, directory)
}

// openHost opens a regular file of the host, whose path comes from the engine, to be read. Errors name it.
func openHost(path string) (*os.File, error) {
	found, err := os.OpenFile(path, unix.O_PATH, 0)
	if err == nil {
		defer found.Close()
		found, err = reopen(found, false)
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, withoutPath(err))
	}
	return found, nil
}

// reopen opens to be read what is there by its place alone (O_PATH), if it is of the kind that is wanted.
func reopen(place *os.File, directory bool) (*os.File, error) {
	info, err := place.Stat()
	switch {
	case err != nil:
		return nil, err
	case directory && !info.IsDir():
		return nil, errors.New("want a directory")
	case !directory:
		if err := checkRegular(info); err != nil {
			return nil, err
		}
	}
	return os.Open("/proc/self/fd/" + strconv.Itoa(int(place.Fd())))
}

// checkRegular says what a file is that is no regular one.
func checkRegular(info fs.FileInfo) error {
	switch {
	case info.Mode().IsRegular():
		return nil
	case info.IsDir():
		return errors.New("want a file, found a directory")
	}
	return fmt.Errorf("want a file, found one of another kind (%v)", info.Mode().Type())
}

// hold makes a file of memory with a text.
func hold(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("kapsel-environment", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "environment")
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return nil, fmt.Errorf("a file of memory for the environment: %w", err)
	}
	return f, nil
}
