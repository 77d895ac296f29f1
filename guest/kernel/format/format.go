// Package format writes numbers and padded text without allocating.
package format

// Writer takes text for a person: the serial line in a panic, a debug queue else.
// It never fails and never blocks for long.
type Writer interface {
	WriteString(s string)
	// WriteChar takes one byte of text, which is ASCII.
	WriteChar(c byte)
}

// Print writes text, with the next of the values in the place of each verb:
//
//	%d    in decimal
//	%9d   in decimal, with spaces before it up to 9 bytes
//	%x    in lower-case hexadecimal
//	%8x   in hexadecimal, with zeros before it up to 8 digits
//
// Text has no other use for the percent sign, and at most as many verbs as there are values.
func Print(w Writer, text string, values ...uint64) {
	for {
		n := verb(text)
		w.WriteString(text[:n])
		if n == len(text) {
			return
		}
		width := 0
		for text = text[n+1:]; text[0] <= '9'; text = text[1:] {
			width = 10*width + int(text[0]-'0')
		}
		if text[0] == 'x' {
			hexadecimal(w, values[0], width)
		} else {
			decimal(w, values[0], width)
		}
		text, values = text[1:], values[1:]
	}
}

// verb is where the first verb in text begins, or the text's length.
func verb(text string) int {
	for i, c := range []byte(text) { // nothing is copied, and no index is masked
		if c == '%' {
			return i
		}
	}
	return len(text)
}

// hexadecimal writes v with zeros before it up to width digits.
func hexadecimal(w Writer, v uint64, width int) {
	const digits = "0123456789abcdef"
	shift := uint(4 * max(width, 1))
	for shift < 64 && v>>(shift&63) != 0 {
		shift += 4
	}
	for shift > 0 {
		shift -= 4
		w.WriteChar(digits[v>>(shift&63)&15])
	}
}

// decimal writes v with spaces before it up to width bytes.
func decimal(w Writer, v uint64, width int) {
	unit := uint64(1) // the largest power of 10 that is at most v, and 1 for 0
	for ; v/unit >= 10; unit *= 10 {
		width--
	}
	spaces(w, width-1)
	for ; unit > 0; unit /= 10 {
		w.WriteChar('0' + byte(v/unit%10))
	}
}

// Left writes s and spaces behind it up to width bytes; a longer s is written whole.
func Left(w Writer, s string, width int) {
	w.WriteString(s)
	spaces(w, width-len(s))
}

// Text writes bytes from outside as text: each that is not printable ASCII becomes '?'.
func Text(w Writer, b []byte) {
	for _, c := range b {
		if c < ' ' || c > '~' {
			c = '?'
		}
		w.WriteChar(c)
	}
}

// spaces writes n of them, or none if n is not above 0.
//
//go:noinline
func spaces(w Writer, n int) {
	for ; n > 0; n-- {
		w.WriteChar(' ')
	}
}
