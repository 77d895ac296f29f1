//go:build !kapsel

package amd64

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/arch/amd64/unwind"
	"kapsel/guest/kernel"
)

// newPanic gives the test a kernel that has not panicked, whose stack is the given words.
func newPanic(t *testing.T, words []uint64) {
	t.Helper()
	newHostCPU(t)
	before, beforeMourner := image, mourner
	image.Data = addressOf(&words[0])
	image.DataEnd = image.Data + 8*uint64(len(words))
	t.Cleanup(func() { image, mourner, panicking = before, beforeMourner, false })
	panicking = false
}

// newWords makes zeroed words outside of Go's heap.
func newWords(t *testing.T, n int) []uint64 {
	t.Helper()
	return unsafe.Slice((*uint64)(unsafe.Pointer(&newRAM(t, pageSize)[0])), n)
}

type testMourner struct{ panics bool }

func (m *testMourner) KernelPanicked(w kernel.Writer) {
	w.WriteString("mourned\n")
	if m.panics {
		die("again", 0, 0)
	}
}

func TestDiePrintsATrace(t *testing.T) {
	words := newWords(t, 64)
	newPanic(t, words)
	fp := func(i int) uint64 { return addressOf(&words[i]) }
	words[0], words[1] = fp(10), 0x1001 // each frame: the caller's, and a return address
	words[10], words[11] = fp(20), 0x2001
	words[20], words[21] = 0, 0x3001
	(&Machine{}).OnPanic(&testMourner{})
	console, status := stops(t, func() { die("index out of range", 0x500, uintptr(fp(0))) })
	assert.EqualValues(t, abi.ExitPanic, status)
	assert.Equal(t, "\nkapsel: kernel panic: index out of range\n"+
		"  0x500: not in the kernel's code\n"+
		"  0x1000: not in the kernel's code\n"+
		"  0x2000: not in the kernel's code\n"+
		"  0x3000: not in the kernel's code\n"+
		"mourned\n", console)
}

func TestTraceStopsAtWhatIsNoStack(t *testing.T) {
	words := newWords(t, 200)
	base := addressOf(&words[0])
	for _, tt := range []struct {
		name  string
		fp    uint64
		setUp func()
		lines int
	}{
		{"no frame", 0, func() {}, 0},
		{"not aligned", base + 4, func() {}, 0},
		{"below the kernel's variables", base - 8, func() {}, 0},
		{"its end is behind the variables", base + 8*199, func() {}, 0},
		{"behind the variables", base + 8*200, func() {}, 0},
		{"the last frame that fits", base + 8*198, func() {}, 1},
		{"the last address", ^uint64(0) - 7, func() {}, 0},
		{"it points outside", base, func() {}, 1},
		{"it points to itself", base, func() { words[0] = base }, 1},
		{"it points down", base + 80, func() { words[10] = base }, 1},
		{"a long chain", base, func() {
			for i := range 99 {
				words[2*i] = base + 16*uint64(i+1)
			}
		}, 100},
		{"a long chain of one function's frames", base, func() {
			for i := range 99 {
				words[2*i], words[2*i+1] = base+16*uint64(i+1), 0x5001
			}
		}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range words {
				words[i] = uint64(i)
			}
			newPanic(t, words)
			tt.setUp()
			var w text
			printTrace(&w, tt.fp)
			lines := 0
			for _, c := range w.s {
				if c == '\n' {
					lines++
				}
			}
			assert.Equal(t, tt.lines, lines)
		})
	}
}

func TestPanicWhilePanicking(t *testing.T) {
	newPanic(t, newWords(t, 2))
	(&Machine{}).OnPanic(&testMourner{panics: true})
	console, status := stops(t, func() { die("first", 0, 0) })
	assert.EqualValues(t, abi.ExitPanic, status)
	assert.Contains(t, console, "kernel panic: first\n")
	assert.Contains(t, console, "kapsel: panic while panicking: again\n")
}

func TestKernelFaultPrintsItsCause(t *testing.T) {
	for _, tt := range []struct {
		name string
		x    context
		want string
	}{
		{"page fault", context{registers: registers{vector: 14, code: 2, rip: 0x777}}, "\nkapsel: kernel panic: page fault: write where no page is\n" +
			"  vector 14, error code 0x2, address 0xfee1\n  0x777: not in the kernel's code\n  RAX "},
		{"double fault", context{registers: registers{vector: 8, rip: 0x777}}, "\nkapsel: kernel panic: double fault\n" +
			"  vector 8, error code 0x0, address 0xfee1 (no stack to push a fault on)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			newPanic(t, newWords(t, 2))
			mourner = nil
			hostCPU.cr2 = 0xfee1
			console, status := stops(t, func() { kernelFault(&tt.x) })
			assert.EqualValues(t, abi.ExitPanic, status)
			assert.Contains(t, console, tt.want)
		})
	}
}

// TestAbortsAreNoCapsules: a double fault or a machine check ends the machine, also where it finds a capsule; of another exception it is asked
// whether that is a capsule's.
func TestAbortsAreNoCapsules(t *testing.T) {
	for vector, want := range map[uint64]bool{
		vectorNMI: true, vectorInvalidOp: true, vectorProtection: true, vectorPageFault: true,
		vectorDoubleFault: false, vectorMachineCheck: false,
	} {
		newPanic(t, newWords(t, 64))
		s := new(askedStack)
		unwinder.Init(s, new(kernel.Components))
		t.Cleanup(func() { unwinder = unwind.Unwinder{} })
		tryContain("", 0, 0, &context{registers: registers{vector: vector}})
		assert.Equal(t, want, s.asked, "vector %d", vector)
	}
}

// askedStack is an empty stack that notes whether it is looked at.
type askedStack struct {
	ownStack
	asked bool
}

func (s *askedStack) Word(uint64) (uint64, bool) {
	s.asked = true
	return 0, false
}
