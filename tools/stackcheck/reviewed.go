package main

import "strings"

// What the tool takes on trust. Each entry was read in the source that it speaks of.

// stackSwitches are assembly functions that move SP in ways that the linker's table does not
// have. The number is what they use of the stack they were entered on beyond that table.
var stackSwitches = map[string]int{
	archPackage + ".switchTo":     0,   // SP moves to the task's context, and comes back
	archPackage + ".syscallEntry": 0,   // SP moves from the task's stack to where switchTo left the kernel's
	archPackage + ".kernelTrap":   24,  // aligns SP to 16, then makes room for an argument and its alignment
	archPackage + ".loadSegments": 8,   // a far return address in the place of the near one
	archPackage + ".exchange":     256, // pushes 32 addresses by calls within it, and drops them
	"runtime.morestack":           0,   // SP moves to panicStack
}

// isThunk reports whether a function is what an indirect call goes through (-spectre=ret): it enters
// what its register holds, with the caller's return address on top of the stack.
func isThunk(f *function) bool { return strings.HasPrefix(f.Name, "runtime.retpoline") }

// thunkStack is what a thunk uses of the stack itself, in bytes: the return address of its own call.
const thunkStack = 8

// A reviewedCall is a function whose indirect calls the sources do not explain, as it gets its
// addresses from tables that the linker makes.
type reviewedCall struct {
	why     string
	targets func(name string) bool
}

var reviewedCalls = map[string]reviewedCall{
	"runtime.run": {"calls the packages' initialisers, from the linker's list", isInitialiser},
}

// isInitialiser reports whether a function is what the linker's list of initialisers may hold: P.init, P.init.0.
func isInitialiser(name string) bool {
	base := name[strings.LastIndexByte(name, '/')+1:]
	_, function, _ := strings.Cut(base, ".")
	return function == "init" || strings.HasPrefix(function, "init.") && strings.Trim(function[5:], "0123456789") == ""
}

// entersFrom are functions that are entered from a task while another function runs it: on the stack as
// that has left it, and so as if that called them.
var entersFrom = map[string][]string{
	archPackage + ".switchTo": {archPackage + ".syscallEntry", "kapsel.systemCall32"}, // the latter by int40
}

// panics are the functions of package runtime that do not return. They may be called from anywhere,
// once, so that what they need is counted once, on top of the deepest chain.
var panics = map[string]bool{
	"runtime.fatal": true, "runtime.gopanic": true, "runtime.panicBounds": true,
	"runtime.panicdivide": true, "runtime.panicshift": true, "runtime.panicwrap": true,
	"runtime.panicnildottype": true, "runtime.panicdottypeE": true, "runtime.panicdottypeI": true,
	"runtime.panicunsafeslicelen": true, "runtime.panicunsafeslicenilptr": true,
	"runtime.panicunsafestringlen": true, "runtime.panicunsafestringnilptr": true,
	"runtime.unreachableMethod": true, "runtime.morestack": true, "runtime.morestack_noctxt": true,
}

// entered are functions that nothing calls: the processor or the monitor enters them, on a
// stack of their own or none, and they end in one of the entries that are measured.
var entered = map[string]string{
	archPackage + ".entry":              "the direct door: no stack yet",
	archPackage + ".pvhEntry":           "the PVH door: no stack yet",
	archPackage + ".pvhEntry64":         "the PVH door: no stack yet",
	archPackage + ".pvhHigh":            "the PVH door: no stack yet",
	archPackage + ".common":             "the doors: switches to the kernel's stack",
	archPackage + ".compatSyscallEntry": "from ring 3 in compatibility mode, in the task's context; returns from switchTo",
	archPackage + ".trapStubs":          "exceptions and interrupts; goes to trap, trapOnIST or kernelTrap",
	archPackage + ".trap":               "from ring 3, in the task's context, returns from switchTo; from ring 0 to kernelTrap",
	archPackage + ".trapOnIST":          "from ring 3 to trap, from ring 0 to kernelTrap",
	archPackage + ".int40":              "system calls of 32-bit tasks, in the task's context; calls kapsel.systemCall32, or goes to trap",
}

// inTypes reports whether a function is there for type descriptors alone, which the image leaves
// out as nothing of the kernel compares interface values, or is no function but a mark (go:).
func inTypes(name string) bool {
	switch name {
	case "runtime.interequal", "runtime.nilinterequal", "runtime.ifaceeq", "runtime.efaceeq",
		"runtime.strequal", "runtime.f32equal", "runtime.f64equal", "runtime.memequal_varlen":
		return true
	}
	return strings.HasPrefix(name, "type:.eq.") || strings.HasPrefix(name, "go:") || strings.HasPrefix(name, "runtime.memequal")
}

// unknownInstructions are those that the decoder lacks: how they begin, and their length.
var unknownInstructions = map[string]int{}
