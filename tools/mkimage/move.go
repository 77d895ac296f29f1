package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"kapsel/guest/abi"
)

// moveData moves the data of p, which was built to the file out, from one page to another. Go's
// linker puts it behind the table of functions, which is not loaded. (It takes an address, but
// writes nothing of the data if that is a lower one.) It does not tell what refers to the data
// either: that is where the file differs from one in which the data is a page higher.
func (tc *toolchain) moveData(p program, out string, from, to uint64) error {
	higher, err := os.CreateTemp("", "kapsel-*.elf")
	if err != nil {
		return err
	}
	higher.Close()
	defer os.Remove(higher.Name())
	p.data = from + abi.PageSize
	if err := tc.build(p, higher.Name()); err != nil {
		return err
	}
	var files [2][]byte
	for i, path := range []string{out, higher.Name()} {
		if files[i], err = os.ReadFile(path); err != nil {
			return err
		}
	}
	references, err := differences(files[0], files[1], abi.PageSize)
	if err != nil {
		return fmt.Errorf("%q: %w", out, err)
	}
	for _, at := range references {
		field := files[0][at:]
		binary.LittleEndian.PutUint32(field, binary.LittleEndian.Uint32(field)+uint32(to-from))
	}
	return os.WriteFile(out, files[0], 0o755)
}

// differences returns the places of the words of 32 bits that are so much more in the second file.
// They are all in which the files differ. step is a multiple of 0x100 and none of 0x10000: a
// word's second byte differs, its first does not.
func differences(first, second []byte, step uint32) ([]int, error) {
	if len(first) != len(second) {
		return nil, errors.New("it has another size when its data is elsewhere")
	}
	var places []int
	for i := range first {
		last := len(places) - 1
		if first[i] == second[i] || last >= 0 && i < places[last]+4 {
			continue
		}
		at := i - 1
		if at < 0 || at+4 > len(first) || binary.LittleEndian.Uint32(second[at:])-binary.LittleEndian.Uint32(first[at:]) != step {
			return nil, fmt.Errorf("at offset %#x it differs when its data is elsewhere, by something else than an address", i)
		}
		places = append(places, at)
	}
	return places, nil
}
