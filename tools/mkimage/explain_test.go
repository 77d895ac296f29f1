package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMissingRuntime(t *testing.T) {
	for _, tt := range []struct {
		name, said string
		want       []string
	}{
		{"nothing", "", nil},
		{"an ordinary error", "guest/x.go:3:2: undefined: y", nil},
		{"a builtin", `link: reference to undefined builtin "runtime.makeslice" from package "kapsel/guest/x"`, []string{"makeslice"}},
		{"a call", "kapsel/guest/x.F: relocation target runtime.growslice not defined", []string{"growslice"}},
		{"a call of a method", "kapsel/guest/x.(*T).F: relocation target runtime.newobject not defined", []string{"newobject"}},
		{"several, each once", "x.F: relocation target runtime.newobject not defined\n" +
			"x.G: relocation target runtime.growslice not defined\nx.H: relocation target runtime.newobject not defined",
			[]string{"growslice", "newobject"}},
		{"what is missing is not runtime's", "x.F: relocation target kapsel.die not defined", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, missingRuntime(tt.said))
		})
	}
}

// A listing as go build -gcflags=-S prints it, shortened.
const listing = `# kapsel/guest/capsules/led
	0x001d 00029 (kapsel/guest/capsules/led/led.go:12)	CALL	runtime.growslice(SB)
	0x002d 00045 (kapsel/guest/capsules/led/led.go:15)	CALL	runtime.panicBounds(SB)
	0x003d 00061 (kapsel/guest/capsules/led/led.go:12)	CALL	runtime.growslice(SB)
	0x004d 00077 (kapsel/guest/capsules/led/led.go:9)	CALL	runtime.growslice(SB)
# kapsel/guest/kernel
	0x001d 00029 (kapsel/guest/kernel/kernel.go:30)	CALL	runtime.growslice(SB)
# kapsel/guest/board/kvm
	0x001d 00029 (kapsel/guest/capsules/led/led.go:77)	CALL	runtime.newproc(SB)
`

func TestExplain(t *testing.T) {
	const head = "PKG may not use what has no place under it (docs/HACKING.md):\n  "
	for _, tt := range []struct {
		name    string
		said    string
		missing []string
		want    string
	}{
		{"the package that the linker named",
			`link: reference to undefined builtin "runtime.growslice" from package "kapsel/guest/capsules/led"`, []string{"growslice"},
			head + "guest/capsules/led/led.go:12: append needs an allocator\n  guest/capsules/led/led.go:9: append needs an allocator"},
		{"no package named: all calls",
			"kapsel/guest/kernel.F: relocation target runtime.growslice not defined", []string{"growslice"},
			head + "guest/capsules/led/led.go:12: append needs an allocator\n  guest/capsules/led/led.go:9: append needs an allocator\n" +
				"  guest/kernel/kernel.go:30: append needs an allocator"},
		{"the program itself, with a function of a capsule in it",
			"# kapsel/guest/board/kvm\nlink: reference to undefined builtin \"runtime.newproc\" from package \"main\"", []string{"newproc"},
			head + "guest/capsules/led/led.go:77: go needs a scheduler"},
		{"no such call: the linker's words",
			`link: reference to undefined builtin "runtime.rand" from package "kapsel/guest/kernel"`, []string{"rand"},
			"building PKG failed:\n" + `link: reference to undefined builtin "runtime.rand" from package "kapsel/guest/kernel"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.EqualError(t, explain("PKG", tt.missing, listing, tt.said), tt.want)
		})
	}
}

func TestConstructs(t *testing.T) {
	for name, want := range map[string]string{
		"growslice":         "append needs an allocator",
		"growsliceNoAlias":  "append needs an allocator",
		"makeslice64":       "make of a slice, or a slice that escapes, needs an allocator",
		"makeslicecopy":     "make of a slice, or a slice that escapes, needs an allocator",
		"makemap_small":     "make of a map or a channel needs an allocator",
		"makechan":          "make of a map or a channel needs an allocator",
		"mapassign_fast64":  "a map needs an allocator",
		"newobject":         "new, &T{}, or a variable or closure that escapes, needs an allocator",
		"newproc":           "go needs a scheduler",
		"concatstring2":     "joining strings needs an allocator",
		"convT64":           "a value that is not a pointer, put in an interface, needs an allocator",
		"slicebytetostring": "string(bytes) needs an allocator",
		"stringtoslicebyte": "[]byte(string) or []rune(string) needs an allocator",
		"chansend1":         "a channel needs a scheduler",
		"selectgo":          "select needs a scheduler",
		"deferreturn":       "defer is not available",
		"deferproc":         "defer is not available",
		"gorecover":         "recover is not available",
		"typeAssert":        "an assertion to an interface type needs the runtime's type tables",
		"decoderune":        "ranging over a string's runes is not available: range over its bytes",
		"printlock":         "print and println are not available",
		"unheardOf":         "this needs runtime.unheardOf, which does not exist here",
	} {
		assert.Equal(t, want, construct(name), name)
	}
}
