// Package tab reads Tock Application Bundles, the .tab files that Tock's build tools write: a tar
// archive of metadata.toml and an object in the Tock Binary Format for each architecture,
//
//	ARCHITECTURE.tbf, or ARCHITECTURE.FLASH.RAM.tbf for one at fixed addresses
//
// The architecture stands in the name alone, which is that of the file that elf2tab was given; no
// object says it. What metadata.toml says is for tools that choose a board: it is not read. Nothing is
// written to a disk, and no more bytes are read than the archive has. Sources: elf2tab (main.rs) and
// tockloader (tab.py) of the Tock project.
package tab

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"kapsel/guest/kernel/tbf"
)

// architectures are what elf2tab's users call 32-bit x86.
var architectures = []string{"x86", "i386", "i486", "i586", "i686"}

// maxMembers bounds the work for an archive.
const maxMembers = 64

// Is reports whether b begins as a tar archive does that elf2tab or a present tar writes (POSIX.1-2017,
// pax, "ustar Interchange Format": magic), and not as an object does.
func Is(b []byte) bool {
	const at, magic = 257, "ustar"
	return len(b) >= at+len(magic) && string(b[at:at+len(magic)]) == magic && b[tbf.OffsetVersion] != tbf.Version
}

// Object returns the first object in an archive that Kapsel runs, and its name there: one that is
// named for 32-bit x86, or one that says that it is a 64-bit task. Whether it is sound is for the
// caller to find out. An error says what is wrong with the archive, or what it has instead.
func Object(archive []byte) (name string, object []byte, err error) {
	var others []string
	left := int64(len(archive))
	members := tar.NewReader(bytes.NewReader(archive))
	for n := 0; ; n++ {
		h, err := members.Next()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return "", nil, absent(others)
		case err != nil:
			return "", nil, fmt.Errorf("want a tar archive with objects for each architecture (.tab): %w", err)
		case n == maxMembers:
			return "", nil, fmt.Errorf("an archive of more than %d files, no .tab file is", maxMembers)
		case path.Ext(h.Name) != ".tbf":
			continue
		case h.Typeflag != tar.TypeReg:
			return "", nil, fmt.Errorf("%.64q is no plain file", h.Name)
		case h.Size == 0:
			return "", nil, fmt.Errorf("%.64q is empty", h.Name)
		case h.Size > left:
			return "", nil, fmt.Errorf("%.64q has %d bytes, more than the archive: it was cut off, or made of sparse files", h.Name, h.Size)
		}
		left -= h.Size
		object, err := io.ReadAll(members)
		if err != nil {
			return "", nil, fmt.Errorf("%.64q: %w", h.Name, err)
		}
		if name := path.Clean(h.Name); runs(name, object) {
			return name, object, nil
		}
		others = append(others, fmt.Sprintf("%.64q", h.Name))
	}
}

// runs reports whether Kapsel runs the object, if it is sound.
func runs(name string, object []byte) bool {
	architecture, _, _ := strings.Cut(name, ".")
	o, wrong := tbf.Parse(object)
	return slices.Contains(architectures, architecture) || wrong.OK() && o.Is64Bit()
}

// absent says that there is no object that Kapsel runs, but others.
func absent(others []string) error {
	found := "none"
	if len(others) > 0 {
		found = strings.Join(others, ", ")
	}
	return fmt.Errorf("want an object for 32-bit x86 (%s.tbf), or one of a 64-bit task; found %s", strings.Join(architectures, ".tbf, "), found)
}
