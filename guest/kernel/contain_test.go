package kernel

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/capability"
)

// names are how functions of a trace are written in the tests: those of components by their name, others by what they are.
var names = map[string][3]string{
	"runtime": {"runtime", ".", "panicIndex"}, "format": {"kapsel/guest/kernel/format", ".", "Print"}, "virtio": {capsulePackages + "virtio", ".(*Queue).", "serve"},
	"mmio": {"kapsel/guest/mmio", ".(*Ports).", "Write"}, "kernel": {"kapsel/guest/kernel", ".(*Kernel).", "work"}, "board": {"main", ".(*board).", "Reset"},
	"machine": {"kapsel/guest/arch/amd64", ".(*CPU).", "Switch"}, "grant": {"kapsel/guest/kernel", ".(*Grant[...]).", "Enter"}, "": {"", "", ""},
	"calls": {"kapsel/guest/kernel", ".(*deferredCalls).", "run"}, "wrong": {"kapsel/guest/kernel", ".(*DeferredCall).", "Set"},
}

// wired is a list whose components were all made: a line, what shares it, and users of that; a disk that falls with its cache.
func wired(t *testing.T) *Components {
	list := []Component{
		{Name: "uart"}, {Name: "mux", Uses: "uart"}, {Name: "debug", Uses: "mux"}, {Name: "console", Uses: "mux"}, {Name: "shell", Uses: "mux debug"},
		{Name: "disk"}, {Name: "cache", Uses: "disk", With: "disk"}, {Name: "store", Uses: "cache"}, {Name: "ipc"}, {Name: "absent", Uses: "uart"},
	}
	c := &Components{contains: true}
	for i := range list {
		list[i].Init, list[i].Clear = func(capability.Set) bool { return list[i].Name != "absent" }, func() {}
	}
	c.Init(new(Kernel), list, nil, capability.Set{})
	c.contains = false
	c.Wire()
	c.resolve()
	c.contains = true
	return c
}

// newTrace makes a trace of functions, from the innermost outwards.
func newTrace(t *testing.T, c *Components, message, functions string) *Trace {
	trace := new(Trace)
	trace.Reset(message)
	for i, f := range strings.Fields(functions) {
		name, known := names[f]
		if !known {
			name = [3]string{capsulePackages + f, ".(*T).", "Command"}
		}
		require.Equal(t, i, trace.Add(uint64(i), name[0], name[1], name[2], c))
	}
	return trace
}

// TestDecide: who falls, and which function is the outermost that is cut.
func TestDecide(t *testing.T) {
	const index, wrong, watchdog = "index out of range", misuse + "set before it was registered", "watchdog"
	for _, tt := range []struct {
		name, message, functions string
		fallen                   string
		boundary                 int
	}{
		{"a driver's command", index, "console kernel machine kernel board", "console", 0},
		{"by the runtime", index, "runtime runtime console kernel", "console", 2},
		{"in a library", index, "virtio format disk kernel", "disk cache store", 2},
		{"in a check of an access", index, "mmio uart kernel", "uart mux debug console shell", 1},
		{"several functions", index, "console console console kernel", "console", 2},
		{"within a grant", index, "console grant console kernel", "console", 2},
		{"a client, called by what it shares", index, "console mux uart kernel", "console", 0},
		{"a client, called from within its call", index, "console mux console kernel", "console mux debug shell", 2},
		{"what is shared, with its users", index, "mux uart kernel", "mux debug console shell", 0},
		{"what is shared, called by a user", index, "mux console kernel", "mux debug console shell", 1},
		{"what is below, called by what is between", index, "uart mux debug kernel", "uart mux debug console shell", 2},
		{"one that falls with its user", index, "cache store kernel", "disk cache store", 1},
		{"a user of those", index, "store cache disk kernel", "store", 0},
		{"a user of those, from within its call", index, "store cache store kernel", "store cache disk", 2},
		{"one that no other uses", index, "ipc kernel machine", "ipc", 0},
		{"behind the kernel nothing is cut", index, "debug kernel shell kernel", "debug shell", 0},
		{"nor behind the board", index, "debug board shell kernel", "debug shell", 0},
		{"nor behind the machine", index, "debug kernel machine kernel", "debug shell", 0},
		{"not even for another's sake", index, "console kernel mux console kernel", "console", 0},
		{"misuse of the kernel", wrong, "runtime kernel console kernel", "console", 2},
		{"within a grant", wrong, "kernel grant console kernel", "console", 2},
		{"the kernel", index, "kernel console kernel", "", -1},
		{"the kernel, by the runtime", index, "runtime kernel machine", "", -1},
		{"a grant's methods", index, "runtime grant console", "", -1},
		{"the machine, misused", wrong, "machine console kernel", "", -1},
		{"the board", index, "board kernel", "", -1},
		{"nobody", index, "", "", -1},
		{"libraries alone", index, "runtime format", "", -1},
		{"a capsule that the board has not made is no library", index, "absent kernel", "absent", 0},
		{"one that does not return", watchdog, "runtime console kernel", "console", 1},
		{"one that the kernel works for", watchdog, "kernel console kernel", "", -1},
		{"one in the middle of an access", watchdog, "mmio uart kernel", "", -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := wired(t)
			trace := newTrace(t, c, tt.message, tt.functions)
			trace.Interrupted = tt.message == watchdog
			fallen, boundary := c.decide(trace)
			assert.Equal(t, tt.boundary, boundary)
			want := uint64(0)
			for _, name := range strings.Fields(tt.fallen) {
				want |= 1 << c.index(name, len(c.list))
			}
			assert.Equal(t, want, fallen)
		})
	}
}

// TestDecideAnyTrace: whatever was running, a boundary is a function of a component that falls, all functions within it may be cut, and the
// users of each that falls do so too.
func TestDecideAnyTrace(t *testing.T) {
	c := wired(t)
	origins := []Origin{OfMachine, OfKernel, OfGrant, OfLibrary, OfShared, OfAccess, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	var trace Trace
	const depth = 4
	for n := range len(origins) * len(origins) * len(origins) * len(origins) {
		trace.count = depth
		for i, left := 0, n; i < depth; i, left = i+1, left/len(origins) {
			trace.origins[i] = origins[left%len(origins)]
		}
		for _, message := range [...]string{"", misuse} {
			trace.Message = message
			fallen, boundary := c.decide(&trace)
			if boundary < 0 {
				require.Zero(t, fallen)
				continue
			}
			o := trace.origins[boundary]
			require.True(t, o >= 0 && fallen>>o&1 != 0, "the boundary falls: %v", trace.origins[:depth])
			require.Equal(t, c.closure(fallen), fallen, "%v", trace.origins[:depth])
			for _, o := range trace.origins[c.failed(&trace):boundary] {
				require.NotContains(t, []Origin{OfMachine, OfKernel}, o, "%v", trace.origins[:depth])
				require.True(t, o < 0 || fallen>>o&1 != 0, "cut and does not fall: %v", trace.origins[:depth])
			}
		}
	}
}

// TestTraceIsBounded: a trace that is too long is no capsule's failure.
func TestTraceIsBounded(t *testing.T) {
	c := wired(t)
	trace := new(Trace)
	for range MaxTrace {
		require.GreaterOrEqual(t, trace.Add(1, "runtime", ".", "f", c), 0)
	}
	assert.Equal(t, -1, trace.Add(1, "runtime", ".", "f", c))
}

// shared is a client of deferred calls as what drivers share is one, package virtio: nothing of the driver is between it and the kernel. It fails.
type shared struct{ fails func() }

func (s *shared) HandleDeferredCall() { s.fails() }

// TestDeferredCallOfWhatDriversShare: a failure in a deferred call of what drivers share is that driver's which registered it when it was
// wired. One that the kernel or the board registered is nobody's, nor is one of the kernel itself between such calls.
func TestDeferredCallOfWhatDriversShare(t *testing.T) {
	for _, tt := range []struct {
		name     string
		trace    Trace // its message, and how it failed
		frames   string
		boundary int // of the driver's, or -1
	}{
		{"panic", Trace{Message: "injected"}, "runtime virtio virtio calls kernel", 2},
		{"exception", Trace{Message: "page fault", NilPointer: true}, "virtio calls kernel", 0},
		{"exception in a library that it called", Trace{Message: "index out of range"}, "runtime format virtio calls kernel", 2},
		{"exception in a check of an access", Trace{Message: "index out of range"}, "mmio virtio calls kernel", 1},
		{"misuse of the kernel", Trace{Message: misuse + "set before it was registered"}, "runtime wrong virtio calls kernel", 2},
		{"the watchdog's NMI", Trace{Message: "watchdog", Interrupted: true}, "virtio virtio calls kernel", 1},
		{"the watchdog's NMI, in the kernel", Trace{Message: "watchdog", Interrupted: true}, "kernel virtio calls kernel", -1},
		{"the kernel, called by it", Trace{Message: "index out of range"}, "runtime kernel virtio calls kernel", -1},
		{"the kernel's loop", Trace{Message: "page fault", NilPointer: true}, "calls kernel", -1},
		{"the kernel's loop, by the runtime", Trace{Message: "index out of range"}, "runtime calls kernel", -1},
		{"what drivers share, called elsewhere", Trace{Message: "index out of range"}, "virtio kernel", -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := wired(t)
			var calls [3]DeferredCall
			type outcome struct {
				fallen   uint64
				boundary int
			}
			var outcomes [3]outcome
			clients := [3]shared{}
			for i := range clients {
				clients[i].fails = func() {
					trace := newTrace(t, c, tt.trace.Message, tt.frames)
					trace.NilPointer, trace.Interrupted = tt.trace.NilPointer, tt.trace.Interrupted
					outcomes[i].fallen, outcomes[i].boundary = c.decide(trace)
				}
			}
			k := c.kernel
			calls[0].Register(k, &clients[0]) // the board's
			names := [3]string{"", "disk", "uart"}
			for i := 1; i < len(calls); i++ {
				w := c.index(names[i], len(c.list))
				c.list[w].Init = func(capability.Set) bool { calls[i].Register(k, &clients[i]); return true }
				c.wire(w)
			}
			for i := range calls {
				calls[len(calls)-1-i].Set()
			}
			k.deferred.run()

			nobody := outcome{0, -1}
			want := [3]outcome{nobody, nobody, nobody}
			if tt.boundary >= 0 {
				for i := 1; i < len(want); i++ {
					want[i] = outcome{c.closure(1 << c.index(names[i], len(c.list))), tt.boundary}
				}
			}
			assert.Equal(t, want, outcomes)
		})
	}
}

// TestOrigins: each package that a capsule is linked with, but those of capsules, is known for what a failure in it is: one that is not would
// end the machine like the board's.
func TestOrigins(t *testing.T) {
	files, err := filepath.Glob("../capsules/*/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	c := wired(t)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range f.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			assert.NotEqual(t, OfMachine, c.Origin(path, "."), "%s imports %s", name, path)
		}
	}
}

// TestFallenCallsTheKernel: a capsule that fell before, whose pointers are nil, fails where it calls the kernel by them.
func TestFallenCallsTheKernel(t *testing.T) {
	c := wired(t)
	trace := newTrace(t, c, "page fault", "kernel debug kernel")
	trace.NilPointer = true
	_, boundary := c.decide(trace)
	assert.Equal(t, -1, boundary, "one that works has none of those")
	c.fallen = 1 << c.index("debug", len(c.list))
	_, boundary = c.decide(trace)
	assert.Equal(t, 1, boundary)
}
