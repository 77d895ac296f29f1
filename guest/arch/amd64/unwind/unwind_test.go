package unwind

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/functab"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// Functions, each at the address where a hundred instructions of it begin.
const (
	loop = 100 * (1 + iota)
	systemCall
	command // of capsule probe
	deep    // of capsule probe
	move    // of package runtime: it keeps no frame pointer
	thunk
	inlined // the kernel's, put into a function of capsule probe
)

var functions = map[uint64]functab.Place{
	loop:       {Function: functab.Name{Prefix: "kapsel/guest/kernel", Type: ".(*Kernel).", Rest: "loop"}, File: functab.Name{Prefix: "kapsel/guest/kernel"}},
	systemCall: {Function: functab.Name{Prefix: "kapsel/guest/kernel", Type: ".", Rest: "SystemCall"}, File: functab.Name{Prefix: "kapsel/guest/kernel"}},
	command:    {Function: functab.Name{Prefix: "kapsel/guest/capsules/probe", Type: ".(*Probe).", Rest: "Command"}, File: functab.Name{Prefix: "kapsel/guest/capsules/probe"}},
	deep:       {Function: functab.Name{Prefix: "kapsel/guest/capsules/probe", Type: ".", Rest: "deep"}, File: functab.Name{Prefix: "kapsel/guest/capsules/probe"}},
	move:       {Function: functab.Name{Prefix: "runtime", Type: ".", Rest: "memmove"}, NoFrame: true},
	thunk:      {Function: functab.Name{Prefix: "runtime", Type: ".", Rest: "retpolineAX"}, NoFrame: true},
	inlined:    {Function: functab.Name{Prefix: "kapsel/guest/capsules/probe", Type: ".", Rest: "deep"}, File: functab.Name{Prefix: "kapsel/guest/kernel"}},
}

// A stack is a kernel's stack from address base on, and code.
type stack struct {
	words  []uint64
	moving uint64 // where the instruction MOVQ SP, BP is
}

const base = 0x10000

func (s *stack) Word(addr uint64) (uint64, bool) {
	if addr%8 != 0 || addr < base || addr >= base+8*uint64(len(s.words)) {
		return 0, false
	}
	return s.words[(addr-base)/8], true
}

func (s *stack) Code(pc uint64) [3]byte {
	if pc == s.moving {
		return [3]byte{0x48, 0x89, 0xe5}
	}
	return [3]byte{}
}

func (s *stack) Place(pc uint64, p *functab.Place) bool {
	found, ok := functions[pc/100*100]
	*p = found
	return ok
}

// frames lays out a stack of frames of two words each: a caller's frame pointer, and the address behind its call, from the innermost
// outwards. It returns the innermost frame pointer.
func frames(returns ...uint64) (*stack, uint64) {
	s := &stack{words: []uint64{0}}
	for i, pc := range returns {
		fp := base + 8*uint64(len(s.words)) + 16
		if i == len(returns)-1 {
			fp = 0
		}
		s.words = append(s.words, fp, pc)
	}
	return s, base + 8
}

type host struct{}

func (host) Route(uint32)                     {}
func (host) Unroute(uint32)                   {}
func (host) PrintFrame(kernel.Writer, uint64) {}
func (host) Polled() kernel.Writer            { return nil }

// unwinder is one for a board with the capsule probe.
func unwinder(t *testing.T, s *stack) *Unwinder {
	can := capability.Mint()
	m := kerneltest.New(t, can)
	var c kernel.Components
	c.SetPolicy(kernel.RestartCapsule, 3)
	c.Init(&m.Kernel, []kernel.Component{{Name: "probe", Clear: func() {}, Init: func(capability.Set) bool { return true }}}, host{}, can)
	c.Wire()
	c.WireRest()
	u := new(Unwinder)
	u.Init(s, &c)
	return u
}

func TestReturnsBehindTheCapsule(t *testing.T) {
	s, fp := frames(command+10, systemCall+10, loop+10)
	onward, _ := unwinder(t, s).Contain(&Failure{Message: "index out of range", PC: deep + 10, FP: fp}, 1)
	require.NotNil(t, onward)
	var want [4]uint64
	want[0], want[1], want[2], want[3] = kernel.CommandFailed()
	assert.Equal(t, Resumption{PC: systemCall + 10, SP: base + 40, FP: base + 40, Results: want}, *onward, "Command answers that it failed")
}

func TestFunctionWithoutFramePointer(t *testing.T) {
	s, fp := frames(systemCall+10, loop+10) // command was called by systemCall and calls move
	s.words[0] = command + 10               // the address behind that call, on top of the stack
	onward, _ := unwinder(t, s).Contain(&Failure{PC: move + 10, FP: fp, SP: base, NilPointer: true}, 1)
	require.NotNil(t, onward)
	assert.EqualValues(t, systemCall+10, onward.PC)
}

func TestNothingToReturnFrom(t *testing.T) {
	for _, c := range []struct {
		name    string
		pc      uint64
		returns []uint64
	}{
		{"the kernel's own", systemCall + 10, []uint64{loop + 10}},
		{"an address that is no code", deep + 10, []uint64{command + 10, 9999, loop + 10}},
		{"no code at all", 9999, []uint64{command + 10}},
	} {
		s, fp := frames(c.returns...)
		onward, goesOn := unwinder(t, s).Contain(&Failure{PC: c.pc, FP: fp}, 1)
		assert.Nil(t, onward, c.name)
		assert.False(t, goesOn, c.name)
	}
}

// TestFramesThatDoNotEnd: frame pointers that lead back, or nowhere, end a walk.
func TestFramesThatDoNotEnd(t *testing.T) {
	s, fp := frames(command+10, systemCall+10, loop+10)
	s.words[3] = base + 8
	onward, _ := unwinder(t, s).Contain(&Failure{PC: deep + 10, FP: fp}, 1)
	assert.Nil(t, onward)
	deepest := make([]uint64, 2*kernel.MaxTrace)
	for i := range deepest {
		deepest[i] = deep + 10
	}
	s, fp = frames(deepest...)
	onward, _ = unwinder(t, s).Contain(&Failure{PC: deep + 10, FP: fp}, 1)
	assert.Nil(t, onward)
}

// TestInterruptedAnywhere: an NMI ends a capsule at its own instructions alone, where the frame pointer is its own.
func TestInterruptedAnywhere(t *testing.T) {
	for _, c := range []struct {
		name string
		pc   uint64
		ends bool
	}{
		{"in its function", deep + 10, true},
		{"where it takes the frame pointer", deep + 2, false},
		{"in what the compiler put into it of the kernel", inlined + 10, false},
		{"in the kernel", systemCall + 20, false},
		{"in a thunk", thunk + 10, false},
	} {
		s, fp := frames(command+10, systemCall+10, loop+10)
		s.words[0] = command + 20
		s.moving = deep + 2
		onward, goesOn := unwinder(t, s).Contain(&Failure{PC: c.pc, FP: fp, SP: base, Interrupted: true}, 1)
		assert.Equal(t, c.ends, onward != nil, c.name)
		assert.Equal(t, !c.ends, goesOn, c.name+": the next one may find it")
	}
}

// TestPatience: NMIs in the kernel that a capsule called end the machine at last, and begin again with the heartbeat.
func TestPatience(t *testing.T) {
	s, fp := frames(command+10, systemCall+10, loop+10)
	u := unwinder(t, s)
	f := &Failure{PC: systemCall + 20, FP: fp, SP: base, Interrupted: true}
	count := func(heartbeat uint64) (n int) {
		for n = 1; n <= abi.WatchdogNMIs; n++ {
			if _, goesOn := u.Contain(f, heartbeat); !goesOn {
				break
			}
		}
		return n
	}
	assert.Equal(t, lastNMI, count(1))
	assert.Equal(t, lastNMI, count(2))
	s, fp = frames(loop + 10)
	_, goesOn := unwinder(t, s).Contain(&Failure{PC: systemCall + 20, FP: fp, Interrupted: true}, 1)
	assert.False(t, goesOn, "no capsule is running: the kernel hangs")
}
