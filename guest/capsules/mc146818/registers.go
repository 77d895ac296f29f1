package mc146818

import "kapsel/guest/mmio"

// Registers is the kind of device (mmio.Device): two ports of 8 bits, an index and what it points at.
type Registers struct{}

// The ports.
const (
	index mmio.WriteOnly[Registers, register] = 0 // bit 7 would mask NMIs on a PC
	data  mmio.ReadWrite[Registers, byte]     = 1
)

// register is a byte of the device: the time, then what controls it.
type register uint8

const (
	seconds  register = 0x00
	minutes  register = 0x02
	hours    register = 0x04
	weekday  register = 0x06 // 1 is Sunday
	day      register = 0x07
	month    register = 0x08
	year     register = 0x09 // of the century
	statusA  register = 0x0a
	statusB  register = 0x0b
	statusD  register = 0x0d
	century  register = 0x32 // of PCs: byte of RAM behind the registers
	timeSize          = 8    // registers with a part of the date and the time
)

const updating byte = 0x80 // in register A: the time is about to change

// Bits of register B.
const (
	setting byte = 0x80 // the time stands still
	binary  byte = 0x04 // numbers are binary, not two decimal digits
	hours24 byte = 0x02
)

const afternoon byte = 0x80 // in the hours, where they are 12

// Register D says that the time is valid. What is no clock has other bits there: an empty port all ones.
const (
	validMask byte = 0xc0
	valid     byte = 0x80
)
