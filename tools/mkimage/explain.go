package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// constructs names the Go construct behind each function of package runtime that the
// kernel does not have. The kernel has no allocator and no scheduler on purpose.
var constructs = []struct{ prefix, construct string }{
	{"growslice", "append needs an allocator"},
	{"makeslice", "make of a slice, or a slice that escapes, needs an allocator"},
	{"newobject", "new, &T{}, or a variable or closure that escapes, needs an allocator"},
	{"mallocgc", "this needs an allocator"},
	{"moveSlice", "a slice that escapes needs an allocator"},
	{"concat", "joining strings needs an allocator"},
	{"slicebytetostring", "string(bytes) needs an allocator"},
	{"slicerunetostring", "string(runes) needs an allocator"},
	{"stringtoslice", "[]byte(string) or []rune(string) needs an allocator"},
	{"intstring", "string(rune) needs an allocator"},
	{"conv", "a value that is not a pointer, put in an interface, needs an allocator"},
	{"make", "make of a map or a channel needs an allocator"},
	{"map", "a map needs an allocator"},
	{"rand", "a map needs an allocator"},
	{"newproc", "go needs a scheduler"},
	{"chan", "a channel needs a scheduler"},
	{"select", "select needs a scheduler"},
	{"closechan", "a channel needs a scheduler"},
	{"block", "select needs a scheduler"},
	{"defer", "defer is not available"},
	{"gorecover", "recover is not available"},
	{"typeAssert", "an assertion to an interface type needs the runtime's type tables"},
	{"assertE2I", "an assertion to an interface type needs the runtime's type tables"},
	{"interfaceSwitch", "a type switch on interface types needs the runtime's type tables"},
	{"decoderune", "ranging over a string's runes is not available: range over its bytes"},
	{"countrunes", "[]rune(string) needs an allocator"},
	{"print", "print and println are not available"},
}

// construct returns what a reader needs to know of a missing runtime function.
func construct(name string) string {
	for _, c := range constructs {
		if strings.HasPrefix(name, c.prefix) {
			return c.construct
		}
	}
	return "this needs runtime." + name + ", which does not exist here"
}

var (
	// The linker, of a call in reachable code, and of a reference it met while loading a package.
	missingCall    = regexp.MustCompile(`(?m)^(\S.*): relocation target runtime\.(\S+) not defined`)
	missingBuiltin = regexp.MustCompile(`reference to undefined builtin "runtime\.([^"]+)" from package "([^"]+)"`)
	// The compiler's listing: a function's heading, and a call in it.
	listingPackage = regexp.MustCompile(`^# (\S+)`)
	listingCall    = regexp.MustCompile(`\(([^()]+:\d+)\)\s+CALL\s+runtime\.(\w+)\(SB\)`)
)

// missingRuntime finds in a failed build's output the runtime functions that were missing.
func missingRuntime(said string) []string {
	var names []string
	for _, m := range missingCall.FindAllStringSubmatch(said, -1) {
		names = append(names, m[2])
	}
	for _, m := range missingBuiltin.FindAllStringSubmatch(said, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// explain turns the linker's words into file, line and construct, by the listing of all
// calls. Where the listing has no such call, the linker's words stand.
func explain(pkg string, missing []string, listing, said string) error {
	packages := blamed(said)
	var lines []string
	current := ""
	for line := range strings.Lines(listing) {
		if m := listingPackage.FindStringSubmatch(line); m != nil {
			current = m[1]
			continue
		}
		m := listingCall.FindStringSubmatch(line)
		if m == nil || !slices.Contains(missing, m[2]) || len(packages) > 0 && !slices.Contains(packages, current) {
			continue
		}
		lines = append(lines, strings.TrimPrefix(m[1], "kapsel/")+": "+construct(m[2]))
	}
	if len(lines) == 0 {
		return fmt.Errorf("building %s failed:\n%s", pkg, said)
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	return fmt.Errorf("%s may not use what has no place under it (docs/HACKING.md):\n  %s", pkg, strings.Join(lines, "\n  "))
}

// blamed returns the packages that the linker named. It calls the program's own package
// main; the go command heads the linker's words with its path.
func blamed(said string) []string {
	var packages []string
	program := listingPackage.FindStringSubmatch(said)
	for _, m := range missingBuiltin.FindAllStringSubmatch(said, -1) {
		name := m[2]
		if name == "main" && program != nil {
			name = program[1]
		}
		packages = append(packages, name)
	}
	return packages
}
