package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// How a flat 32-bit program is linked: as Tock's x86 port links, at fixed addresses, entered
// at its first byte (guest/tock32/tock32.ld is the linker script). Its start code
// puts its data into RAM itself.
const (
	flatProtected = 0x80      // bytes of the object in front of the program
	flatFlash     = 0x15_0080 // address of the program
	flatRAM       = 0x21_0000 // address of its RAM
	flatRAMSize   = 0x8000    // bytes
)

// flatTask makes NAME.tbf in dir from the flat program in NAME.bin, and returns the object,
// with a SHA-256 credential if digest is set.
func flatTask(path, dir string, digest bool) ([]byte, error) {
	program, err := readTaskFile(path)
	if err != nil {
		return nil, err
	}
	if len(program) == 0 {
		return nil, fmt.Errorf("%q is empty, want a flat 32-bit program", path)
	}
	name := strings.TrimSuffix(filepath.Base(path), ".bin")
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name:           name,
		Binary:         program,
		BinaryOffset:   flatProtected,
		MinimumRAM:     flatRAMSize,
		FixedAddresses: &tbf.FixedAddresses{Flash: flatFlash, RAM: flatRAM},
		SHA256:         digest,
	})
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	if end := flatFlash - flatProtected + len(object); end > flatRAM {
		return nil, fmt.Errorf("%q is %d bytes long: its object ends at %#x, want at most %#x, where its RAM begins", path, len(program), end, flatRAM)
	}
	return object, os.WriteFile(filepath.Join(dir, name+".tbf"), object, 0o644)
}
