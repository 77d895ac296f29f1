// Package generation tells which of the machines made from one snapshot this is (abi.NoteGeneration). A driver that holds what must not
// be the same in two of them, such as random bytes, remembers the number with it, and drops it when the number is another. It is linked
// where such a driver is.
package generation

// word is 0 in a machine that was booted. The monitor writes it, between two instructions.
var word uint64

// Now returns the generation.
func Now() uint64 { return word }
