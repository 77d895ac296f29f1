// Package format writes numbers and padded text without allocating: every string that
// it hands out is a part of a constant.
package format

// Writer takes text for a person: the serial line in a panic, a debug queue else.
// It never fails and never blocks for long.
type Writer interface {
	WriteString(s string)
}

const (
	digits = "0123456789abcdef"
	spaces = "                                " // 32
)

// Dec writes v in decimal.
func Dec(w Writer, v uint64) {
	for unit := unitOf(v); unit > 0; unit /= 10 {
		d := v / unit % 10
		w.WriteString(digits[d : d+1])
	}
}

// Hex writes v in lower-case hexadecimal after 0x, without leading zeros.
func Hex(w Writer, v uint64) {
	HexWidth(w, v, 1)
}

// HexWidth writes v in lower-case hexadecimal after 0x, with zeros up to at least width
// digits (1 to 16).
func HexWidth(w Writer, v uint64, width int) {
	w.WriteString("0x")
	for shift := 60; shift >= 0; shift -= 4 {
		if shift < 4*width || v>>shift != 0 {
			d := v >> shift & 0xf
			w.WriteString(digits[d : d+1])
		}
	}
}

// Left writes s and spaces behind it up to width bytes; a longer s is written whole.
func Left(w Writer, s string, width int) {
	w.WriteString(s)
	pad(w, width-len(s))
}

// DecRight writes v in decimal, with spaces before it up to width bytes.
func DecRight(w Writer, v uint64, width int) {
	length := 0
	for unit := unitOf(v); unit > 0; unit /= 10 {
		length++
	}
	pad(w, width-length)
	Dec(w, v)
}

// Text writes bytes from outside as text: each that is not printable ASCII becomes '?'.
func Text(w Writer, b []byte) {
	const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
	for _, c := range b {
		if c < ' ' || c > '~' {
			c = '?'
		}
		w.WriteString(printable[c-' ' : c-' '+1])
	}
}

// unitOf is the largest power of ten that is at most v, and 1 for 0.
func unitOf(v uint64) uint64 {
	unit := uint64(1)
	for v/unit >= 10 {
		unit *= 10
	}
	return unit
}

func pad(w Writer, n int) {
	for n > len(spaces) {
		w.WriteString(spaces)
		n -= len(spaces)
	}
	if n > 0 {
		w.WriteString(spaces[:n])
	}
}
