package main

import (
	"fmt"

	"kapsel/files"
	"kapsel/guest/abi"
)

// byteSize is a flag for an amount of memory in bytes.
type byteSize uint64

// String writes the size with the largest unit that divides it.
func (s *byteSize) String() string { return files.Size(uint64(*s)) }

// Set reads a positive number of pages: bytes, or a number with K, M or G.
func (s *byteSize) Set(text string) error {
	n, unit, ok := files.ParseSize(text)
	switch {
	case !ok:
		return fmt.Errorf("want a size as 64M: a number with K, M or G")
	case n == 0:
		return fmt.Errorf("want a multiple of %d bytes above 0", abi.PageSize)
	case n*unit%abi.PageSize != 0:
		return fmt.Errorf("that is %d bytes: want a multiple of %d, as %s", n*unit, abi.PageSize, likely(n, unit))
	}
	*s = byteSize(n * unit)
	return nil
}

// likely is the size that is meant by n units, which are no whole pages: MiB, if there is no
// unit and they are less than a page.
func likely(n, unit uint64) string {
	size := byteSize(max(n*unit/abi.PageSize, 1) * abi.PageSize)
	if unit == 1 && n < abi.PageSize {
		size = byteSize(n << 20)
	}
	return size.String()
}
