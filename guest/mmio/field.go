package mmio

import "math/bits"

// Value is what a register holds: a type of the register's own, whose constants are its fields. Its width is the register's.
type Value interface{ ~uint8 | ~uint16 | ~uint32 }

// A Field is some neighbouring bits of a register that holds a V, which together are a number: an F. It is a constant of its
// own, whose value is the mask of the bits:
//
//	const wordLength mmio.Field[lineBits, word] = 0x03
//
// A single bit needs none: it is a constant of type V.
type Field[V, F Value] uint32

// Of is the field's number in what a register holds.
func (f Field[V, F]) Of(v V) F { return F((uint32(v) & uint32(f)) >> f.shift()) }

// With is v with another number in the field. It panics if that has more bits than the field.
func (f Field[V, F]) With(v V, number F) V {
	if uint32(number) > uint32(f)>>f.shift() {
		panic("mmio: a number that its field has no room for")
	}
	return V(uint32(v)&^uint32(f) | uint32(number)<<f.shift())
}

// shift is how many bits are below the field.
func (f Field[V, F]) shift() uint { return uint(bits.TrailingZeros32(uint32(f))) & 31 }
