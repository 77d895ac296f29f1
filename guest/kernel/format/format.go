// Package format writes numbers and padded text without allocating: every string that
// it hands out is a part of a constant.
package format

// Writer takes text for a person: the serial line in a panic, a debug queue else.
// It never fails and never blocks for long.
type Writer interface {
	WriteString(s string)
}

// Print writes text, with the next of the values in the place of each verb:
//
//	%d    in decimal
//	%9d   in decimal, with spaces before it up to 9 bytes
//	%x    in lower-case hexadecimal after 0x
//	%8x   in hexadecimal after 0x, with zeros up to 8 digits
//
// Text has no other use for the percent sign, and at most as many verbs as there are values.
func Print(w Writer, text string, values ...uint64) {
	plain := 0 // where the text begins that is still to be written
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			continue
		}
		w.WriteString(text[plain:i])
		width := 0
		for i++; text[i] <= '9'; i++ {
			width = 10*width + int(text[i]-'0')
		}
		base, filler := uint64(10), " "
		if text[i] == 'x' {
			w.WriteString("0x")
			base, filler = 16, "0"
		}
		number(w, values[0], base, width, filler)
		values = values[1:]
		plain = i + 1
	}
	w.WriteString(text[plain:])
}

// number writes v to a base of at most 16, with a filler before it up to width digits.
func number(w Writer, v, base uint64, width int, filler string) {
	const digits = "0123456789abcdef"
	unit := uint64(1) // the largest power of base that is at most v, and 1 for 0
	for ; v/unit >= base; unit *= base {
		width--
	}
	repeat(w, filler, width-1)
	for ; unit > 0; unit /= base {
		d := v / unit % base
		w.WriteString(digits[d : d+1])
	}
}

// Left writes s and spaces behind it up to width bytes; a longer s is written whole.
func Left(w Writer, s string, width int) {
	w.WriteString(s)
	repeat(w, " ", width-len(s))
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

// repeat writes s n times, or not at all if n is not above 0.
func repeat(w Writer, s string, n int) {
	for ; n > 0; n-- {
		w.WriteString(s)
	}
}
