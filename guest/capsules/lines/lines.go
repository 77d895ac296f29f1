// Package lines is how capsules and the host speak over ports: lines of decimal numbers below 2^32, with one space between two and a
// newline behind the last.
package lines

// Size is how many bytes a line has at the most, with its newline.
const Size = 40

// Line is a line that is written or read. The zero Line is empty.
type Line struct {
	text [Size]byte
	n    int
}

// Clear empties the line.
func (l *Line) Clear() { l.n = 0 }

// Write makes the line one of these numbers, at most 3.
func (l *Line) Write(numbers ...uint32) {
	l.n = 0
	for i, v := range numbers {
		if i != 0 {
			l.put(' ')
		}
		l.number(v)
	}
	l.put('\n')
}

// number adds a number.
func (l *Line) number(v uint32) {
	unit := uint32(1)
	for v/unit >= 10 {
		unit *= 10
	}
	for ; unit != 0; unit /= 10 {
		l.put(byte('0' + v/unit%10))
	}
}

// put adds a byte, if there is room for it.
func (l *Line) put(b byte) {
	if l.n < Size {
		l.text[l.n] = b
		l.n++
	}
}

// Bytes are what the line has so far. They are the line's.
func (l *Line) Bytes() []byte { return l.text[:l.n] }

// Fill adds bytes of input up to a newline, and returns how many it took, and whether the line is whole: it has its newline. A line
// that has no room for its newline takes none.
func (l *Line) Fill(input []byte) (n int, whole bool) {
	for n < len(input) && l.n < Size && !whole {
		whole = input[n] == '\n'
		l.put(input[n])
		n++
	}
	return n, whole
}

// Read reads a whole line of exactly so many numbers, or reports false.
func (l *Line) Read(numbers []uint32) bool {
	at := 0
	for i := range numbers {
		v, digits := uint64(0), 0
		for ; at < l.n && l.text[at] >= '0' && l.text[at] <= '9' && v < 1<<32; at++ {
			v = v*10 + uint64(l.text[at]-'0')
			digits++
		}
		end := byte(' ')
		if i == len(numbers)-1 {
			end = '\n'
		}
		if digits == 0 || v >= 1<<32 || at == l.n || l.text[at] != end {
			return false
		}
		numbers[i] = uint32(v)
		at++
	}
	return at == l.n
}
