// Package inject makes capsules fail where and how the command line says, to show that a failure is contained. tools/inject puts
// calls of it into copies of the capsules' sources; no kernel that ships has any.
package inject

// Kind is a kind of failure.
type Kind uint32

// Kinds. The first five happen where a capsule is entered, Twice where it tells a client that an operation is done, the rest where it
// hands a buffer to another capsule.
const (
	None     Kind = iota
	Panic         // an explicit panic
	Index         // an index out of range
	Nil           // a nil pointer is followed
	Divide        // a division by zero
	Loop          // it does not return
	Twice         // it tells of the end of an operation twice
	NoBuffer      // it hands over no buffer
	Short         // it hands over half of the buffer
	Foreign       // it hands over a buffer that was never its own
	kinds
)

// MaxPoints is how many points there can be.
const MaxPoints = 1024

// A Fault is what is to happen: a failure of a kind, the hit-th time that a point is come to, once.
type Fault struct {
	Point, Hit uint32
	Kind       Kind
}

var (
	chosen   Fault
	started  bool
	happened bool
	hits     [MaxPoints]uint32
)

// Choose says what is to happen.
func Choose(f Fault) { chosen = f }

// Start has hits count from now on: before, capsules are wired, and a failure ends the machine.
func Start() { started = true }

// Hits is how often a point was come to.
func Hits(point uint32) uint32 { return hits[point%MaxPoints] }

// Happened reports whether the fault has happened.
func Happened() bool { return happened }

// At notes that a point is come to, and returns what is to happen there now.
//
//go:noinline
func At(point uint32) Kind {
	if !started {
		return None
	}
	n := &hits[point%MaxPoints]
	*n++
	if chosen.Point != point || chosen.Hit != *n {
		return None
	}
	happened = chosen.Kind != None
	return chosen.Kind
}

var foreign [64]byte

// Buffer is the buffer that a capsule hands over at a point instead of p.
func Buffer(point uint32, p []byte) []byte {
	switch At(point) {
	case NoBuffer:
		return nil
	case Short:
		return p[:len(p)/2]
	case Foreign:
		return foreign[:]
	}
	return p
}

// Parse reads a Fault as the command line has it: POINT:KIND:HIT, in decimal.
func Parse(text []byte) (f Fault, ok bool) {
	var numbers [3]uint32
	i, digits := 0, 0
	for _, c := range text {
		switch {
		case c == ':' && digits > 0 && i < 2:
			i, digits = i+1, 0
		case c >= '0' && c <= '9' && digits < 6:
			numbers[i] = numbers[i]*10 + uint32(c-'0')
			digits++
		default:
			return f, false
		}
	}
	f = Fault{Point: numbers[0], Kind: Kind(numbers[1]), Hit: numbers[2]}
	return f, i == 2 && digits > 0 && f.Point < MaxPoints && f.Kind < kinds
}
