package sandbox

import "io"

// console takes what the guest prints, a few bytes at a time, on the thread of the processor, and counts it.
type console struct {
	out    io.Writer // gets lines
	failed bool      // it does not take them any more
	log    func(format string, args ...any)
	over   func() // the limit is passed

	left    int // bytes that may be printed; NoLimit
	line    [256]byte
	inLine  int
	tail    [2 * consoleTail]byte // what was printed last
	inTail  int
	written int // since the sandbox began
	flooded bool
}

// consoleTail is how many bytes of the console an Error has.
const consoleTail = 2 << 10

// begin begins a call, in which the guest may print so many bytes, or NoLimit.
func (c *console) begin(limit int) { c.left, c.inTail, c.flooded = limit, 0, false }

// Write implements io.Writer for the machine. What is over the limit is dropped.
func (c *console) Write(p []byte) (int, error) {
	all := len(p)
	c.written += all
	if c.left != NoLimit {
		n := min(len(p), c.left)
		c.left -= n
		if n < len(p) && !c.flooded {
			c.flooded = true
			c.over()
		}
		p = p[:n]
	}
	for _, b := range p {
		c.line[c.inLine] = b
		c.inLine++
		if b == '\n' || c.inLine == len(c.line) {
			c.flush()
		}
		if c.inTail == len(c.tail) {
			c.inTail = copy(c.tail[:], c.tail[consoleTail:])
		}
		c.tail[c.inTail] = b
		c.inTail++
	}
	return all, nil
}

// flush passes an unfinished line on.
func (c *console) flush() {
	line := c.line[:c.inLine]
	c.inLine = 0
	if len(line) == 0 || c.failed {
		return
	}
	if _, err := c.out.Write(line); err != nil {
		c.failed = true
		c.log("the output is lost: %v", err)
	}
}

// last returns what was printed last since begin.
func (c *console) last() string {
	return string(c.tail[max(0, c.inTail-consoleTail):c.inTail])
}
