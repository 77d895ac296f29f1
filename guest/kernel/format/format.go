// Package format writes numbers and padded text without allocating.
package format

// Writer takes text for a person: the serial line in a panic, a debug queue else.
// It never fails and never blocks for long.
type Writer interface {
	WriteString(s string)
	// WriteChars takes n bytes of text, at most 8, all of them ASCII. The first is the lowest byte of chars.
	WriteChars(chars uint64, n int)
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
		at := verb(text)
		w.WriteString(text[:at])
		if at == len(text) {
			return
		}
		width := 0
		for at++; text[at] <= '9'; at++ {
			width = 10*width + int(text[at]-'0')
		}
		if text[at] == 'x' {
			hexadecimal(w, values[0], width)
		} else {
			decimal(w, values[0], width)
		}
		text, values = text[at+1:], values[1:]
	}
}

// verb is where the first verb in text begins, or the text's length.
//
//go:noinline
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
	if high := v >> 32; high != 0 || width > 8 {
		hexadecimal32(w, high, width-8)
		width = 8
	}
	hexadecimal32(w, v&(1<<32-1), width)
}

// hexadecimal32 does so with a v of at most 32 bits, and a width of at most 8. It makes all digits at once, a byte each, the
// highest in the lowest byte.
func hexadecimal32(w Writer, v uint64, width int) {
	n := max(width, 1)
	for v>>(uint(4*n)&63) != 0 {
		n++
	}
	const ones = 0x0101_0101_0101_0101
	v = v>>16 | v&0xffff<<32
	v = v>>8&0x0000_00ff_0000_00ff | v&0x0000_00ff_0000_00ff<<16
	v = v>>4&0x000f_000f_000f_000f | v&0x000f_000f_000f_000f<<8
	letters := (v + 6*ones) >> 4 & ones // 1 for each digit above 9
	v += '0'*ones + letters*('a'-'9'-1)
	w.WriteChars(v>>(uint(8*(8-n))&63), n)
}

// decimal writes v with spaces before it up to width bytes.
func decimal(w Writer, v uint64, width int) {
	unit := uint64(1) // the largest power of 10 that is at most v, and 1 for 0
	for ; v/unit >= 10; unit *= 10 {
		width--
	}
	spaces(w, width-1)
	for ; unit > 0; unit /= 10 {
		w.WriteChars('0'+v/unit, 1)
		v %= unit
	}
}

// Left writes s and spaces behind it up to width bytes; a longer s is written whole.
func Left(w Writer, s string, width int) {
	w.WriteString(s)
	spaces(w, width-len(s))
}

// Text writes bytes from outside as text: each that is not printable ASCII becomes '?'.
//
//go:noinline
func Text(w Writer, b []byte) {
	chars, n := uint64(0), 0 // n characters, the last in the highest byte
	for i, c := range b {
		if c < ' ' || c > '~' {
			c = '?'
		}
		chars = chars>>8 | uint64(c)<<56
		if n++; n == 8 || i == len(b)-1 {
			w.WriteChars(chars>>(uint(8*(8-n))&63), n)
			n = 0
		}
	}
}

// spaces writes n of them, or none if n is not above 0.
//
//go:noinline
func spaces(w Writer, n int) {
	const eight = 0x2020_2020_2020_2020
	for ; n > 0; n -= 8 {
		w.WriteChars(eight, min(n, 8))
	}
}
