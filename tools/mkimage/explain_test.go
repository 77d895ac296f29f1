package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMissingRuntime(t *testing.T) {
	for _, tt := range []struct {
		name, said string
		want       []missing
	}{
		{"nothing", "", nil},
		{"an ordinary error", "guest/x.go:3:2: undefined: y", nil},
		{"a builtin", `link: reference to undefined builtin "runtime.makeslice" from package "kapsel/guest/x"`, []missing{{"makeslice", "kapsel/guest/x"}}},
		{"of the program itself", "# kapsel/guest/tasks/x\nlink: reference to undefined builtin \"runtime.newproc\" from package \"main\"",
			[]missing{{"newproc", "kapsel/guest/tasks/x"}}},
		{"a call", "kapsel/guest/x.F: relocation target runtime.growslice not defined", []missing{{"growslice", "kapsel/guest/x.F"}}},
		{"a call of a method", "kapsel/guest/x.(*T).F: relocation target runtime.newobject not defined", []missing{{"newobject", "kapsel/guest/x.(*T).F"}}},
		{"of a generic function", "x.F[go.shape.struct { A int }]: relocation target runtime.newobject not defined",
			[]missing{{"newobject", "x.F[go.shape.struct { A int }]"}}},
		{"several", "x.F: relocation target runtime.newobject not defined\nx.G: relocation target runtime.growslice not defined",
			[]missing{{"newobject", "x.F"}, {"growslice", "x.G"}}},
		{"what is missing is not runtime's", "x.F: relocation target kapsel.die not defined", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, missingRuntime(tt.said))
		})
	}
}

// A listing as go build -gcflags=-S prints it, shortened.
const listing = `# kapsel/guest/capsules/led
kapsel/guest/capsules/led.F STEXT size=128 args=0x8 locals=0x38 funcid=0x0 align=0x0
	0x001d 00029 (kapsel/guest/capsules/led/led.go:12)	CALL	runtime.growslice(SB)
	0x002d 00045 (kapsel/guest/capsules/led/led.go:15)	CALL	runtime.panicBounds(SB)
	0x003d 00061 (kapsel/guest/capsules/led/led.go:12)	CALL	runtime.growslice(SB)
	0x004d 00077 (kapsel/guest/capsules/led/led.go:9)	CALL	runtime.growslice(SB)
kapsel/guest/capsules/led.G STEXT size=128 args=0x8 locals=0x38 funcid=0x0 align=0x0
	0x001d 00029 (kapsel/guest/capsules/led/led.go:20)	LEAQ	type:map[int]int(SB), AX
	0x002d 00045 (kapsel/guest/capsules/led/led.go:20)	CALL	runtime.mapaccess1_fast64(SB)
	0x003d 00061 (kapsel/guest/capsules/led/led.go:21)	LEAQ	runtime.staticuint64s(SB), CX
	0x004d 00077 (kapsel/guest/capsules/led/led.go:29)	CALL	runtime.deferreturn(SB)
# kapsel/guest/kernel
kapsel/guest/kernel.F STEXT size=128 args=0x8 locals=0x38 funcid=0x0 align=0x0
	0x001d 00029 (kapsel/guest/kernel/kernel.go:30)	CALL	runtime.growslice(SB)
# kapsel/guest/board/kvm
main.main STEXT size=128 args=0x8 locals=0x38 funcid=0x0 align=0x0
	0x001d 00029 (kapsel/guest/capsules/led/led.go:77)	CALL	runtime.newproc(SB)
# kapsel/guest/capsules/led
kapsel/guest/capsules/led.G STEXT size=128 args=0x8 locals=0x38 funcid=0x0 align=0x0
	0x001d 00029 (kapsel/guest/capsules/led/led.go:24)	CALL	runtime.deferprocStack(SB)
	0x002d 00045 (kapsel/guest/capsules/led/led.go:29)	CALL	runtime.deferreturn(SB)
`

func TestExplain(t *testing.T) {
	const (
		head = "\"PKG\" may not use what has no place under it (docs/HACKING.md):\n  "
		led  = "kapsel/guest/capsules/led"
	)
	for _, tt := range []struct {
		name    string
		missing []missing
		want    string
	}{
		{"all calls of a package", []missing{{"growslice", led}},
			head + "guest/capsules/led/led.go:12: append needs an allocator\n  guest/capsules/led/led.go:9: append needs an allocator"},
		{"those of a function", []missing{{"growslice", "kapsel/guest/kernel.F"}}, head + "guest/kernel/kernel.go:30: append needs an allocator"},
		{"the program itself, with a function of a capsule in it", []missing{{"newproc", "main.main"}}, head + "guest/capsules/led/led.go:77: go needs a scheduler"},
		{"a defer, at its own line", []missing{{"deferreturn", led + ".G"}},
			head + "guest/capsules/led/led.go:24: defer is not available: call at each end of the function"},
		{"a map, of which the linker misses a hash", []missing{{"memhash64", led}}, head + "guest/capsules/led/led.go:20: a map is not available: use an array and an index"},
		{"data", []missing{{"staticuint64s", led + ".G"}},
			head + "guest/capsules/led/led.go:21: a value that is not a pointer, put in an interface, needs an allocator"},
		{"no such call: the linker's words", []missing{{"rand", "kapsel/guest/kernel"}}, "building \"PKG\" failed:\nthe linker's words"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.EqualError(t, explain("PKG", tt.missing, listing, "the linker's words"), tt.want)
		})
	}
}

func TestConstructs(t *testing.T) {
	for name, want := range map[string]string{
		"growslice":         "append needs an allocator",
		"growsliceNoAlias":  "append needs an allocator",
		"makeslice64":       "make of a slice, or a slice that escapes, needs an allocator",
		"makeslicecopy":     "make of a slice, or a slice that escapes, needs an allocator",
		"makemap_small":     "a map is not available: use an array and an index",
		"makechan":          "a channel needs a scheduler",
		"mapassign_fast64":  "a map is not available: use an array and an index",
		"newobject":         "new, &T{}, or a variable or closure that escapes, needs an allocator",
		"newproc":           "go needs a scheduler",
		"concatstring2":     "joining strings needs an allocator",
		"convT64":           "a value that is not a pointer, put in an interface, needs an allocator",
		"slicebytetostring": "string(bytes) needs an allocator",
		"stringtoslicebyte": "[]byte(string) needs an allocator",
		"stringtoslicerune": "[]rune(string) is not available: range over the string",
		"staticuint64s":     "a value that is not a pointer, put in an interface, needs an allocator",
		"chansend1":         "a channel needs a scheduler",
		"selectgo":          "select needs a scheduler",
		"deferreturn":       "defer is not available: call at each end of the function",
		"deferproc":         "defer is not available: call at each end of the function",
		"gorecover":         "recover is not available",
		"typeAssert":        "an assertion to an interface type needs the runtime's type tables",
		"printlock":         "print and println are not available",
		"unheardOf":         "this needs runtime.unheardOf, which does not exist here",
	} {
		assert.Equal(t, want, construct(name), name)
	}
}
