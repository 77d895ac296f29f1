package peripheral

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// maxLine is how many bytes a line of the guest's has at the most.
const maxLine = 40

// lines splits what is written into lines of decimal numbers, and hands each on.
type lines struct {
	line func(numbers []uint32) error
	rest []byte
	err  error // what ended it
}

// Write implements io.Writer. After an error it returns that.
func (l *lines) Write(p []byte) (n int, err error) {
	for l.err == nil && n < len(p) {
		i := bytes.IndexByte(p[n:], '\n')
		part := p[n:]
		if i >= 0 {
			part = part[:i]
		}
		if len(l.rest)+len(part) >= maxLine {
			l.err = fmt.Errorf("the guest sent a line of more than %d bytes", maxLine)
			break
		}
		l.rest = append(l.rest, part...)
		n += len(part)
		if i >= 0 {
			n++
			l.err = l.take()
		}
	}
	return n, l.err
}

// take hands the line on that is whole.
func (l *lines) take() error {
	text := string(l.rest)
	l.rest = l.rest[:0]
	var numbers []uint32
	for text != "" {
		word, rest, more := strings.Cut(text, " ")
		v, err := strconv.ParseUint(word, 10, 32)
		if err != nil || more && rest == "" {
			return fmt.Errorf("the guest sent the line %q: want decimal numbers", text)
		}
		numbers, text = append(numbers, uint32(v)), rest
	}
	return l.line(numbers)
}
