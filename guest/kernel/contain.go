package kernel

import (
	"math/bits"

	"kapsel/guest/abi"
)

// A capsule that fails ends its operation, not the machine (docs/decisions/0026-a-capsule-that-fails.md). The machine layer finds the
// functions that were running; here is decided what falls, and where to go on. What follows from that is in revive.go.

// Origin is what a function belongs to: a component, by its index, or one of these.
type Origin int8

// Origins.
const (
	OfMachine Origin = -iota - 1 // the machine layer, the board, or anything else that capsules rely on
	OfKernel                     // the kernel
	OfGrant                      // a grant's methods, that call a capsule with a task's value
	OfLibrary                    // what is linked to whoever needs it: package runtime, and packages without state
	OfShared                     // a package of capsules that is no component: what drivers share, whose state is theirs
	OfAccess                     // what checks a capsule's access: device registers, buffers of devices, capabilities
)

// capsulePackages is what the packages of capsules begin with.
const capsulePackages = "kapsel/guest/capsules/"

// packageOrigins are the origins of other packages than capsules.
var packageOrigins = [...]struct {
	name   string
	origin Origin
}{
	{"runtime", OfLibrary},
	{"kapsel/guest/abi", OfLibrary},
	{"kapsel/guest/abi/storage", OfLibrary},
	{"kapsel/guest/abi/virtio", OfLibrary},
	{"kapsel/guest/kernel/aes", OfLibrary},
	{"kapsel/guest/kernel/crc", OfLibrary},
	{"kapsel/guest/kernel/crc32c", OfLibrary},
	{"kapsel/guest/kernel/format", OfLibrary},
	{"kapsel/guest/kernel/generation", OfLibrary},
	{"kapsel/guest/kernel/hil", OfLibrary},
	{"kapsel/guest/kernel/sha256", OfLibrary},
	{"kapsel/guest/kernel/sha512", OfLibrary},
	{"kapsel/guest/kernel/siphash", OfLibrary},
	{"kapsel/guest/mmio", OfAccess},
	{"kapsel/guest/dma", OfAccess},
	{"kapsel/guest/kernel/capability", OfAccess},
	{"kapsel/guest/kernel", OfKernel},
}

// Origin finds what a function belongs to, by its package and its type with points around it. Of functions that the compiler put into another, the
// other counts: that is what can be returned from. A package below that of capsules which is not in the list is what they share.
func (c *Components) Origin(pkg, typ string) Origin {
	if len(pkg) > len(capsulePackages) && pkg[:len(capsulePackages)] == capsulePackages {
		if i := c.index(pkg[len(capsulePackages):], len(c.list)); i < len(c.list) {
			return Origin(i)
		}
		return OfShared
	}
	for i := range packageOrigins {
		p := &packageOrigins[i]
		if p.name != pkg {
			continue
		}
		if p.origin == OfKernel && begins(typ, ".(*Grant[") {
			return OfGrant
		}
		return p.origin
	}
	return OfMachine
}

func begins(s, with string) bool { return len(s) >= len(with) && s[:len(with)] == with }

// MaxTrace is how many functions deep a capsule's failure can be.
const MaxTrace = 64

// shownTrace is how many functions a report shows.
const shownTrace = 16

// Trace is the functions that were running at a failure, from the innermost outwards.
type Trace struct {
	_           notComparable
	Message     string
	NilPointer  bool // the failure is the use of a nil pointer
	Interrupted bool // nothing failed: the innermost function does not return

	count    int
	pcs      [MaxTrace]uint64
	origins  [MaxTrace]Origin
	commands [MaxTrace]bool
}

// Reset makes the trace empty.
func (t *Trace) Reset(message string) {
	t.Message, t.NilPointer, t.Interrupted, t.count = message, false, false, 0
}

// Add adds the next function, of which an instruction is at pc, by its package, its type with points around it, and the rest of its name. It returns its index, or -1 if the
// trace is too long for a capsule's failure.
func (t *Trace) Add(pc uint64, pkg, typ, function string, c *Components) int {
	n := t.count
	if n == MaxTrace {
		return -1
	}
	t.count++
	t.pcs[n], t.origins[n], t.commands[n] = pc, c.Origin(pkg, typ), len(typ) > 1 && function == "Command"
	if n > 0 && t.origins[n-1] == OfShared && t.origins[n] == OfKernel && typ == ".(*deferredCalls)." {
		t.origins[n-1] = c.ofDeferred(int(c.kernel.deferred.running))
	}
	return n
}

// ofDeferred is the component that registered a deferred call, by the call's index, when it was wired. A client of what drivers share is called
// by the kernel itself: no function of the driver's tells for whom it runs.
func (c *Components) ofDeferred(call int) Origin {
	for i := range c.list {
		if s := c.list[i].deferred; s.from <= call && call < s.to {
			return Origin(i)
		}
	}
	return OfShared
}

// IsCommand reports whether the function with an index is a driver's Command.
func (t *Trace) IsCommand(i int) bool { return t.commands[i] }

// HasCapsule reports whether a capsule is among the functions.
func (t *Trace) HasCapsule() bool {
	for _, o := range t.origins[:t.count] {
		if o >= 0 {
			return true
		}
	}
	return false
}

// failed is the index of the function that failed, or -1 if that is none of a capsule's. Functions of libraries and of what capsules share are passed over, and those
// that check an access: they failed for what their caller wants. So are the kernel's, if they say that their caller misuses them, or
// if a capsule that fell before called them: its pointers to the kernel are nil.
func (c *Components) failed(t *Trace) int {
	misused := begins(t.Message, misuse)
	for i, o := range t.origins[:t.count] {
		switch {
		case o >= 0:
			return i
		case o == OfLibrary, o == OfShared, o == OfAccess && !t.Interrupted:
		case (o == OfKernel || o == OfGrant) && !t.Interrupted && (misused || t.NilPointer && c.calledByFallen(t, i)):
		default:
			return -1
		}
	}
	return -1
}

// calledByFallen reports whether a capsule that fell before called the kernel, whose function is the i-th.
func (c *Components) calledByFallen(t *Trace, i int) bool {
	for _, o := range t.origins[i:t.count] {
		if o >= 0 {
			return c.fallen>>o&1 != 0
		}
		if o == OfMachine {
			break
		}
	}
	return false
}

// decide says which components fall, and which of the functions is the outermost that is cut: it returns to its caller. boundary is -1
// if nothing can be contained.
//
// Who fails takes its users with it, and those whose With says so. A capsule whose function lies between functions that are cut falls,
// too. But nothing of the kernel, the machine or the board is cut, but for a grant's methods: they return to a capsule that fell, which may
// then fail again.
func (c *Components) decide(t *Trace) (fallen uint64, boundary int) {
	from := c.failed(t)
	if from < 0 {
		return 0, -1
	}
	end := from
	for end < t.count && t.origins[end] != OfMachine && t.origins[end] != OfKernel {
		end++
	}
	fallen = c.closure(1 << t.origins[from])
	for before := uint64(0); before != fallen; {
		before = fallen
		for i := from; i < end; i++ {
			if o := t.origins[i]; o >= 0 && fallen>>o&1 != 0 {
				boundary = i
			}
		}
		for _, o := range t.origins[from:boundary] {
			if o >= 0 {
				fallen |= c.closure(1 << o)
			}
		}
	}
	return fallen, boundary
}

// closure adds to a set of components those that fall with them.
func (c *Components) closure(set uint64) uint64 {
	for before := uint64(0); before != set; {
		before = set
		for i := range c.list {
			p := &c.list[i]
			if p.uses&set != 0 {
				set |= 1 << i
			}
			if set>>i&1 != 0 {
				set |= p.with
			}
		}
		set &= c.made | before
	}
	return set
}

// FailurePolicy is what a board does about capsules that fail.
type FailurePolicy uint8

// Policies.
const (
	RestartCapsule FailurePolicy = iota // it is made anew, a few times
	StopCapsule                         // it stays off
	PanicOnFailure                      // the machine ends
)

// SetPolicy chooses a policy, and how often a capsule is made anew by RestartCapsule.
func (c *Components) SetPolicy(p FailurePolicy, restarts uint32) { c.policy, c.restarts = p, restarts }

// A report is what is printed of a failure.
type report struct {
	_       notComparable
	failed  int    // the component
	fallen  uint64 // with it
	again   uint32 // how often it failed by then
	message [96]byte
	length  int
	count   int
	pcs     [shownTrace]uint64
}

const maxReports = 4

// Contain makes of a failure a capsule's. It returns which of the functions is to return to its caller, with zeros or, for a driver's
// Command, with CommandFailed; or -1 if the machine ends. It changes only what the components have.
func (c *Components) Contain(t *Trace) (boundary int) {
	if !c.contains || c.policy == PanicOnFailure {
		return -1
	}
	c.resolve()
	fallen, boundary := c.decide(t)
	if boundary < 0 {
		return -1
	}
	failed := int(t.origins[c.failed(t)])
	again := c.fallen>>failed&1 != 0
	fallen &^= c.fallen
	for left := fallen; left != 0; left &= left - 1 {
		c.fall(bits.TrailingZeros64(left))
	}
	if !again {
		c.list[failed].failures++
		c.note(t, failed, fallen, boundary)
		if c.policy == StopCapsule || c.list[failed].failures > c.restarts {
			c.off |= c.closure(1 << failed)
		}
	}
	if t.IsCommand(boundary) {
		c.answered(int(t.origins[boundary]))
	}
	c.work.Set()
	return boundary
}

// CommandFailed is the answer of a driver's Command that was cut: what its result is in registers.
func CommandFailed() (variant, a, b, c uint64) {
	r := Failed(abi.NODEVICE)
	return uint64(r.variant), r.a, r.b, r.c
}

// note keeps what is to be printed of a failure.
func (c *Components) note(t *Trace, failed int, fallen uint64, boundary int) {
	if c.reported == maxReports {
		c.missed++
		return
	}
	r := &c.reports[c.reported]
	c.reported++
	r.failed, r.fallen, r.again = failed, fallen&^(1<<failed), c.list[failed].failures
	r.length = copy(r.message[:], t.Message)
	r.count = copy(r.pcs[:], t.pcs[:boundary+1])
}

// fall takes a component out: nothing that is its own is used any more, and nothing calls it but who knows its address.
func (c *Components) fall(i int) {
	k, p := c.kernel, &c.list[i]
	c.fallen |= 1 << i
	c.untold |= 1 << i
	if c.wiring != i { // else it adds them still, perhaps
		k.drivers.drop(p.drivers)
	}
	for line := range c.lines {
		if l := &c.lines[line]; l.driver != nil && l.owner == i {
			c.host.Unroute(uint32(line))
			l.driver = nil
		}
	}
	for n := p.deferred.from; n < p.deferred.to; n++ {
		k.deferred.pending &^= 1 << n
	}
	for n := p.grants.from; n < p.grants.to; n++ {
		s := k.allSlots[n]
		if k.switchSlots == s {
			k.onSwitch, k.switchSlots = nil, nil
		}
		if s.kernel == nil { // it was being made
			continue
		}
		s.entered.close()
		k.clearValues(s)
		c.kept[n] = *s
	}
	c.clear(i)
	for n := p.grants.from; n < p.grants.to; n++ {
		*k.allSlots[n] = c.kept[n] // which tasks rely on
	}
}

// clear makes a component's state what it was before Init.
func (c *Components) clear(i int) {
	if p := &c.list[i]; p.Plain != nil {
		p.Plain.Clear()
	} else {
		p.Clear()
	}
}

// answered notes that the running task is told by a Command's answer: of no operation that goes on.
func (c *Components) answered(i int) {
	k, p := c.kernel, &c.list[i]
	for n := p.grants.from; n < p.grants.to; n++ {
		if s := k.allSlots[n]; *s.of(k.running) != nil {
			s.takePending(k.running)
		}
	}
}

// clearValues makes the values of a grant zero, but for what tell will take from them.
func (k *Kernel) clearValues(s *Slots) {
	for left := s.holders; left != 0; left &= left - 1 {
		value := (*s.of(k.first(left)))[s.at.value:]
		if len(value) >= pendingSize {
			value = value[pendingSize:]
		}
		clear(value)
	}
}
