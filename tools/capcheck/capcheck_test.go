package main

import (
	"maps"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sound is a small module that obeys every rule. Tests change one file of it.
var sound = map[string]string{
	"go.mod":           "module kapsel\n\ngo 1.26.0\n",
	"guest/abi/abi.go": "package abi\n\ntype Word uint32\n\nvar names = [...]string{\"a\"}\n\nfunc Name() string { return names[0] }\n",
	"guest/kernel/capability/capability.go": `package capability

type Hardware struct{ minted bool }

func Mint() Hardware { return Hardware{true} }
`,
	"guest/kernel/kernel.go": `package kernel

import "kapsel/guest/abi"

type Grant[T any] struct{ value T }

func (g *Grant[T]) Enter(f func(*T)) { f(&g.value) }

type Driver interface{ Command() abi.Word }

type Kernel struct{}

func SystemCall(k *Kernel) {}
`,
	"guest/kernel/memory_unsafe.go": `package kernel

import "unsafe"

func size[T any](t *T) uintptr { return unsafe.Sizeof(*t) }
`,
	"guest/kernel/hil/hil.go": "package hil\n\ntype LED interface{ On() }\n",
	"guest/mmio/mmio.go": `package mmio

import (
	"unsafe"

	"kapsel/guest/kernel/capability"
)

type Register struct{ at *uint32 }

func New(p uintptr, c capability.Hardware) Register { return Register{(*uint32)(unsafe.Pointer(p))} }

func Of[D any](c capability.Hardware) (d D) { return }

func (r Register) Load() uint32
`,
	"guest/dma/dma.go": `package dma

import "kapsel/guest/kernel/capability"

type Region struct{}

func NewRegion(c capability.Hardware) Region { return Region{} }
`,
	"guest/capsules/virtio/virtio.go": "package virtio\n\nconst Parts = 3\n",
	"guest/capsules/virtioblk/blk.go": "package virtioblk\n\nimport \"kapsel/guest/capsules/virtio\"\n\nconst parts = virtio.Parts\n",
	"guest/mmio/mmio_amd64.s":         "// Load\nTEXT ·Register·Load(SB), 4, $0-12\n\tRET\n",
	"guest/capsules/led/led.go": `// Package led is a capsule.
package led

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/mmio"
)

var _ kernel.Driver = (*LED)(nil)

const table = "abc"

type LED struct {
	register mmio.Register
	grant    kernel.Grant[state]
}

type state struct {
	count [4]uint64
	on    bool
}

func (l *LED) Command() abi.Word { return abi.Word(l.register.Load()) }

func (l *LED) On() { l.grant.Enter(func(s *state) { s.on = true }) }

func use(l hil.LED) { l.On() }
`,
	"guest/arch/amd64/cpu.go":      "//go:build kapsel\n\npackage amd64\n\nimport (\n\t_ \"unsafe\"\n\n\t_ \"kapsel/guest/kernel\"\n)\n\nfunc Halt()\n",
	"guest/arch/amd64/cpu_host.go": "//go:build !kapsel\n\npackage amd64\n\nimport _ \"runtime\"\n",
	"guest/runtime/stub.go":        "//go:build kapsel\n\npackage runtime\n\nimport \"internal/abi\"\n\ntype t = abi.Type\n",
	"guest/board/kvm/main.go": `//go:build kapsel

package main

import (
	"kapsel/guest/arch/amd64"
	"kapsel/guest/capsules/led"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/mmio"
)

var l led.LED

func main() {
	_ = mmio.New(0x1000, capability.Mint())
	l.On()
	amd64.Halt()
}
`,
	"guest/arch/amd64/numbers.go": "package amd64\n\nfunc double(n int) int { return 2 * n }\n",
	"guest/arch/amd64/halts.go":   "//go:build kapsel\n\npackage amd64\n\nfunc halts(n int) {\n\tfor range double(n) {\n\t\tHalt()\n\t}\n}\n",
	"docs/trusted.md": `# Trusted

<!-- made by capcheck -update -->
| package | trusted lines | of | files |
|---|---:|---:|---|
| guest/arch/amd64 | 12 | 14 | cpu.go, halts.go |
| guest/board/kvm | 1 | 13 | main.go |
| guest/kernel | 3 | 10 | memory_unsafe.go |
| guest/mmio | 11 | 11 | mmio.go, mmio_amd64.s |
| guest/runtime | 3 | 3 | stub.go |
| total | 30 | 51 | |
<!-- end -->

### guest/arch/amd64

### guest/board/kvm

### guest/kernel

### guest/mmio

### guest/runtime
`,
	"guest/runtime/heap_task.go": "//go:build kapsel_task\n\npackage runtime\n\nimport _ \"unsafe\"\n",
	"guest/runtime/heap_task.s":  "//go:build kapsel_task\n\nTEXT ·f(SB), 4, $0\n\tRET\n",
	"guest/task/task.go":         "package task\n\nimport _ \"unsafe\"\n",
	"guest/tasks/hello/main.go":  "package main\n\nimport _ \"kapsel/guest/task\"\n\nfunc main() { m := map[int]int{}; go println(m) }\n",
	"vmm/vmm.go":                 "package vmm\n\nimport (\n\t_ \"os\"\n\n\t_ \"kapsel/guest/abi\"\n)\n",
	"cmd/kapsel/main.go":         "package main\n\nimport _ \"kapsel/vmm\"\n\nfunc main() {}\n",
}

// checkTree runs the command on sound with some files added or replaced.
func checkTree(t *testing.T, changes map[string]string) (status int, out, errs string) {
	t.Helper()
	tree := maps.Clone(sound)
	maps.Copy(tree, changes)
	root := fstest.MapFS{}
	for name, text := range tree {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	var stdout, stderr strings.Builder
	status = run(root, false, nil, &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

func TestSoundTree(t *testing.T) {
	status, out, errs := checkTree(t, nil)
	require.Zero(t, status, errs)
	assert.Empty(t, errs)
	assert.Contains(t, out, "guest/capsules/led")
}

func TestBreaches(t *testing.T) {
	const led = "guest/capsules/led/more.go"
	for _, c := range []struct {
		name, file, text string
		want             string // the line printed
	}{
		// Imports.
		{"capsule imports unsafe", led, "package led\n\nimport _ \"unsafe\"\n",
			led + ":3: guest/capsules/led imports unsafe: " + string(ruleUnsafe)},
		{"behind a build tag", led, "//go:build never\n\npackage led\n\nimport _ \"unsafe\"\n",
			led + ":5: guest/capsules/led imports unsafe: " + string(ruleUnsafe)},
		{"for another system", "guest/capsules/led/more_windows.go", "package led\n\nimport _ \"unsafe\"\n",
			"guest/capsules/led/more_windows.go:3: guest/capsules/led imports unsafe: " + string(ruleUnsafe)},
		{"behind a line directive", led, "package led\n\n//line /etc/innocent.go:1\nimport _ \"unsafe\"\n",
			led + ":4: guest/capsules/led imports unsafe: " + string(ruleUnsafe)},
		{"capsule that drives no virtio device imports their library", led, "package led\n\nimport _ \"kapsel/guest/capsules/virtio\"\n",
			led + ":3: guest/capsules/led imports kapsel/guest/capsules/virtio: " + string(ruleImports)},
		{"virtio's library imports a driver", "guest/capsules/virtio/virtio.go", "package virtio\n\nimport _ \"kapsel/guest/capsules/virtioblk\"\n",
			"guest/capsules/virtio/virtio.go:3: guest/capsules/virtio imports kapsel/guest/capsules/virtioblk: " + string(ruleImports)},
		{"capsule imports C", led, "package led\n\nimport \"C\"\n",
			led + ":3: guest/capsules/led imports C: " + string(ruleUnsafe)},
		{"capsule imports reflect", led, "package led\n\nimport _ \"reflect\"\n",
			led + ":3: guest/capsules/led imports reflect: " + string(ruleLibrary)},
		{"capsule imports another module", led, "package led\n\nimport _ \"example.com/x\"\n",
			led + ":3: guest/capsules/led imports example.com/x: " + string(ruleLibrary)},
		{"capsule imports arch", led, "package led\n\nimport _ \"kapsel/guest/arch/amd64\"\n",
			led + ":3: guest/capsules/led imports kapsel/guest/arch/amd64: " + string(ruleImports)},
		{"capsule imports a capsule", "guest/capsules/b/b.go", "package b\n\nimport _ \"kapsel/guest/capsules/led\"\n",
			"guest/capsules/b/b.go:3: guest/capsules/b imports kapsel/guest/capsules/led: " + string(ruleImports)},
		{"capsule imports a folder that is not looked at", led, "package led\n\nimport _ \"kapsel/guest/kernel/hil/testdata/x\"\n",
			led + ":3: guest/capsules/led imports kapsel/guest/kernel/hil/testdata/x: " + string(ruleImports)},
		{"kernel imports a capsule", "guest/kernel/more.go", "package kernel\n\nimport _ \"kapsel/guest/capsules/led\"\n",
			"guest/kernel/more.go:3: guest/kernel imports kapsel/guest/capsules/led: " + string(ruleImports)},
		{"kernel imports arch", "guest/kernel/more.go", "package kernel\n\nimport _ \"kapsel/guest/arch/amd64\"\n",
			"guest/kernel/more.go:3: guest/kernel imports kapsel/guest/arch/amd64: " + string(ruleImports)},
		{"kernel imports unsafe in another file", "guest/kernel/more.go", "package kernel\n\nimport _ \"unsafe\"\n",
			"guest/kernel/more.go:3: guest/kernel imports unsafe: " + string(ruleUnsafe)},
		{"kernel imports fmt", "guest/kernel/more.go", "package kernel\n\nimport _ \"fmt\"\n",
			"guest/kernel/more.go:3: guest/kernel imports fmt: " + string(ruleLibrary)},
		{"board imports unsafe", "guest/board/kvm/more.go", "package main\n\nimport _ \"unsafe\"\n",
			"guest/board/kvm/more.go:3: guest/board/kvm imports unsafe: " + string(ruleUnsafe)},
		{"assembly in a board", "guest/board/kvm/more.s", "TEXT ·f(SB), 4, $0\n\tRET\n",
			"guest/board/kvm/more.s:1: it is not Go: " + string(ruleUnsafe)},
		{"arch imports fmt", "guest/arch/amd64/more.go", "package amd64\n\nimport _ \"fmt\"\n",
			"guest/arch/amd64/more.go:3: guest/arch/amd64 imports fmt: " + string(ruleLibrary)},
		{"abi imports the kernel", "guest/abi/more.go", "package abi\n\nimport _ \"kapsel/guest/kernel\"\n",
			"guest/abi/more.go:3: guest/abi imports kapsel/guest/kernel: " + string(ruleImports)},
		{"board imports the runtime", "guest/board/kvm/more.go", "package main\n\nimport _ \"kapsel/guest/runtime\"\n",
			"guest/board/kvm/more.go:3: guest/board/kvm imports kapsel/guest/runtime: " + string(ruleImports)},
		{"monitor imports the kernel", "vmm/more.go", "package vmm\n\nimport _ \"kapsel/guest/kernel\"\n",
			"vmm/more.go:3: vmm imports kapsel/guest/kernel: " + string(ruleImports)},
		{"task imports the kernel", "guest/task/more.go", "package task\n\nimport _ \"kapsel/guest/kernel\"\n",
			"guest/task/more.go:3: guest/task imports kapsel/guest/kernel: " + string(ruleImports)},
		{"package without a layer", "guest/extra/extra.go", "package extra\n",
			"guest/extra/extra.go:1: package guest/extra has no layer: " + string(ruleLayers)},

		// Contents of safe packages.
		{"assembly in a capsule", "guest/capsules/led/led_amd64.s", "TEXT ·f(SB), 4, $0\n\tRET\n",
			"guest/capsules/led/led_amd64.s:1: it is not Go: " + string(ruleUnsafe)},
		{"object code in a capsule", "guest/capsules/led/led.syso", "x",
			"guest/capsules/led/led.syso:1: it is not Go: " + string(ruleUnsafe)},
		{"assembly in the kernel", "guest/kernel/fast_amd64.s", "TEXT ·f(SB), 4, $0\n\tRET\n",
			"guest/kernel/fast_amd64.s:1: it is not Go: " + string(ruleUnsafe)},
		{"object code in a trusted package", "guest/mmio/fast.syso", "x",
			"guest/mmio/fast.syso:1: it is neither Go nor assembly: " + string(ruleSource)},
		{"linkname", led, "package led\n\n//go:linkname mint kapsel/guest/kernel/capability.Mint\nfunc mint()\n",
			led + ":3: directive //go:linkname: " + string(ruleDirective)},
		{"build tag in a capsule", led, "//go:build kapsel\n\npackage led\n",
			led + ":1: directive //go:build: " + string(ruleDirective)},
		{"nosplit in a capsule", led, "package led\n\n//go:nosplit\nfunc f() {}\n",
			led + ":3: directive //go:nosplit: " + string(ruleDirective)},
		{"norace in the kernel", "guest/kernel/more.go", "package kernel\n\n//go:norace\nfunc f() {}\n",
			"guest/kernel/more.go:3: directive //go:norace: " + string(ruleDirective)},
		{"goroutine", led, "package led\n\nfunc f() {\n\tgo f()\n}\n",
			led + ":4: goroutine: " + string(ruleCapsule)},
		{"channel", led, "package led\n\nfunc f(c chan int) {}\n",
			led + ":3: channel type: " + string(ruleCapsule)},
		{"type switch", led, "package led\n\nfunc f(v any) bool {\n\tswitch v.(type) {\n\tcase *int:\n\t\treturn true\n\t}\n\treturn false\n}\n",
			led + ":4: type switch: " + string(ruleTypes)},
		{"select", led, "package led\n\nfunc f() {\n\tselect {}\n}\n",
			led + ":4: select: " + string(ruleCapsule)},
		{"map", led, "package led\n\nfunc f(m map[int]int) {}\n",
			led + ":3: map type: " + string(ruleCapsule)},
		{"init function", led, "package led\n\nfunc init() {}\n",
			led + ":3: init function: " + string(ruleCapsule)},
		{"package variable", led, "package led\n\nvar (\n\ta = 1\n)\n",
			led + ":4: package variable a: " + string(ruleCapsule)},
		{"a call in place of an assertion", led, "package led\n\nfunc f(*int) int { return 0 }\n\nvar _ int = f(nil)\n",
			led + ":5: package variable _: " + string(ruleCapsule)},
		{"exported variable in the kernel", "guest/kernel/hil/more.go", "package hil\n\nvar Shared int\n",
			"guest/kernel/hil/more.go:3: exported variable Shared: " + string(ruleShared)},

		// Types.
		{"capsule makes a register", led, "package led\n\nimport (\n\t\"kapsel/guest/kernel/capability\"\n\t\"kapsel/guest/mmio\"\n)\n\nvar _ *int = (*int)(nil)\n\nfunc f(c capability.Hardware) mmio.Register { return mmio.New(0, c) }\n",
			led + ":10: guest/capsules/led uses guest/mmio.New: " + string(ruleMint)},
		{"capsule makes a device, by a generic function", led, "package led\n\nimport (\n\t\"kapsel/guest/kernel/capability\"\n\t\"kapsel/guest/mmio\"\n)\n\nfunc f(c capability.Hardware) int { return mmio.Of[int](c) }\n",
			led + ":8: guest/capsules/led uses guest/mmio.Of: " + string(ruleMint)},
		{"capsule makes memory for devices", led, "package led\n\nimport (\n\t\"kapsel/guest/dma\"\n\t\"kapsel/guest/kernel/capability\"\n)\n\nfunc f(c capability.Hardware) dma.Region { return dma.NewRegion(c) }\n",
			led + ":8: guest/capsules/led uses guest/dma.NewRegion: " + string(ruleMint)},
		{"capsule mints, by a dot import", led, "package led\n\nimport . \"kapsel/guest/kernel/capability\"\n\nfunc f() Hardware { return Mint() }\n",
			led + ":5: guest/capsules/led uses guest/kernel/capability.Mint: " + string(ruleMint)},
		{"capsule keeps the minting function", led, "package led\n\nimport \"kapsel/guest/kernel/capability\"\n\nfunc f() func() capability.Hardware { return capability.Mint }\n",
			led + ":5: guest/capsules/led uses guest/kernel/capability.Mint: " + string(ruleMint)},
		{"capsule acts for a task", led, "package led\n\nimport \"kapsel/guest/kernel\"\n\nfunc f(k *kernel.Kernel) { kernel.SystemCall(k) }\n",
			led + ":5: guest/capsules/led uses guest/kernel.SystemCall: " + string(ruleServe)},
		{"board acts for a task", "guest/board/kvm/more.go", "//go:build kapsel\n\npackage main\n\nimport \"kapsel/guest/kernel\"\n\nvar call = kernel.SystemCall\n",
			"guest/board/kvm/more.go:7: guest/board/kvm uses guest/kernel.SystemCall: " + string(ruleServe)},
		{"grant of a pointer", led, "package led\n\nimport \"kapsel/guest/kernel\"\n\ntype t struct{ a, b *int }\n\ntype g struct{ kernel.Grant[t] }\n",
			led + ":7: Grant[t] holds a pointer in field a: " + string(ruleGrant)},
		{"grant of a string deep inside", led, "package led\n\nimport \"kapsel/guest/kernel\"\n\ntype inner struct{ name string }\n\ntype t struct{ list [2]inner }\n\ntype g struct{ kernel.Grant[t] }\n",
			led + ":9: Grant[t] holds a string in field name in field list: " + string(ruleGrant)},
		{"grant of a slice", led, "package led\n\nimport \"kapsel/guest/kernel\"\n\ntype g = kernel.Grant[[]byte]\n",
			led + ":5: Grant[[]byte] holds a slice: " + string(ruleGrant)},
		{"grant of an interface", led, "package led\n\nimport \"kapsel/guest/kernel\"\n\ntype g = kernel.Grant[any]\n",
			led + ":5: Grant[any] holds an interface: " + string(ruleGrant)},
		{"grant of a function", led, "package led\n\nimport \"kapsel/guest/kernel\"\n\ntype g = kernel.Grant[func()]\n",
			led + ":5: Grant[func()] holds a function: " + string(ruleGrant)},
		{"grant of a type parameter", led, "package led\n\nimport \"kapsel/guest/kernel\"\n\ntype g[T any] struct{ kernel.Grant[T] }\n",
			led + ":5: Grant[T] holds a type parameter: " + string(ruleGrant)},
		{"recursion", "guest/kernel/more.go", "package kernel\n\nfunc f(n int) {\n\tif n > 0 {\n\t\tf(n - 1)\n\t}\n}\n",
			"guest/kernel/more.go:5: guest/kernel.f calls guest/kernel.f: " + string(ruleRecursion)},
		{"recursion of two, in a closure and a method", led, "package led\n\ntype t struct{}\n\nfunc (x *t) a() { b(x) }\n\nfunc b(x *t) {\n\tfunc() { x.a() }()\n}\n",
			led + ":8: (*guest/capsules/led.t).a calls guest/capsules/led.b calls (*guest/capsules/led.t).a: " + string(ruleRecursion)},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, out, errs := checkTree(t, map[string]string{c.file: c.text})
			assert.Equal(t, 1, status)
			assert.Empty(t, out, "no table where rules are broken")
			assert.Contains(t, errs, c.want+"\n")
		})
	}
}

func TestUnreadable(t *testing.T) {
	for _, c := range []struct {
		name, file, text, want string
	}{
		{"syntax error", "guest/abi/more.go", "package abi\n\nfunc {", "guest/abi/more.go:3:6"},
		{"type error", "guest/kernel/more.go", "package kernel\n\nvar x = y\n", "it does not compile: guest/kernel/more.go:3:9: undefined: y"},
		{"import cycle", "guest/board/kvm/again/again.go", "package again\n\nimport _ \"kapsel/guest/board/kvm/again\"\n", "guest/board/kvm/again imports itself"},
		{"another module", "guest/go.mod", "module kapsel/guest\n", "guest/go.mod: a module within the module: what is built may not be what is checked"},
		{"no module line", "go.mod", "go 1.26.0\n", "go.mod has no module line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, _, errs := checkTree(t, map[string]string{c.file: c.text})
			assert.Equal(t, 2, status)
			assert.Contains(t, errs, c.want)
		})
	}
	var errs strings.Builder
	assert.Equal(t, 2, run(fstest.MapFS{}, false, nil, &errs, &errs))
	assert.Contains(t, errs.String(), "this is not the root of a module")
}

// The kernel for benchmarks is held to the same rules; what only it has is not counted.
func TestBenchmarkKernel(t *testing.T) {
	const board, probe = "guest/board/kvm/benchmark.go", "guest/capsules/probe/probe.go"
	files := map[string]string{
		board: "//go:build kapsel && kapsel_benchmark\n\npackage main\n\nimport \"kapsel/guest/capsules/probe\"\n\nvar p probe.Probe\n",
		probe: "package probe\n\ntype Probe struct{}\n",
	}
	status, out, errs := checkTree(t, files)
	require.Zero(t, status, errs)
	assert.NotContains(t, out, "probe")
	assert.Contains(t, rows(strings.Split(out, "\n")), "total 80 7 8.8 %", "as without it")

	files[probe] += "\nvar shared int\n"
	status, _, errs = checkTree(t, files)
	assert.Equal(t, 1, status)
	assert.Equal(t, 1, strings.Count(errs, probe+":5: package variable shared"), "reported once: %s", errs)

	files[probe] = "package probe\n\ntype Probe struct{}\n"
	files[board] += "\nvar q = r\n"
	status, _, errs = checkTree(t, files)
	assert.Equal(t, 2, status)
	assert.Contains(t, errs, "it does not compile: "+board+":9:9: undefined: r")

	files[board] = "//go:build kapsel && kapsel_benchmark\n\npackage main\n\nimport \"kapsel/guest/kernel\"\n\n" +
		"type held struct{ p *int }\n\nvar g kernel.Grant[held]\n"
	status, _, errs = checkTree(t, files)
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, board+":9: ")
}

// TestThisModule checks the project itself.
func TestThisModule(t *testing.T) {
	var out, errs strings.Builder
	status := run(os.DirFS("../.."), false, nil, &out, &errs)
	require.Zero(t, status, errs.String())
	t.Log("\n" + out.String())
}
