package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// constructs names the Go construct behind each function of package runtime that the
// kernel or a task does not have. The kernel has no allocator, and neither has a scheduler, on
// purpose.
var constructs = []struct{ prefix, construct string }{
	{"growslice", "append needs an allocator"},
	{"makeslice", "make of a slice, or a slice that escapes, needs an allocator"},
	{"newobject", "new, &T{}, or a variable or closure that escapes, needs an allocator"},
	{"mallocgc", "this needs an allocator"},
	{"moveSlice", "a slice that escapes needs an allocator"},
	{"concat", "joining strings needs an allocator"},
	{"slicebytetostring", "string(bytes) needs an allocator"},
	{"slicerunetostring", "string(runes) is not available"},
	{"stringtoslicebyte", "[]byte(string) needs an allocator"},
	{"stringtoslicerune", "[]rune(string) is not available: range over the string"},
	{"intstring", "string(rune) is not available"},
	{"conv", "a value that is not a pointer, put in an interface, needs an allocator"},
	{"staticuint64s", "a value that is not a pointer, put in an interface, needs an allocator"},
	{"makemap", aMap},
	{"map", aMap},
	{"rand", aMap},
	{"makechan", aChannel},
	{"newproc", "go needs a scheduler"},
	{"chan", aChannel},
	{"select", "select needs a scheduler"},
	{"closechan", aChannel},
	{"block", "select needs a scheduler"},
	{"defer", "defer is not available: call at each end of the function"},
	{"gorecover", "recover is not available"},
	{"typeAssert", "an assertion to an interface type needs the runtime's type tables"},
	{"assertE2I", "an assertion to an interface type needs the runtime's type tables"},
	{"interfaceSwitch", "a type switch on interface types needs the runtime's type tables"},
	{"print", "print and println are not available"},
}

const (
	aMap     = "a map is not available: use an array and an index"
	aChannel = "a channel needs a scheduler"
)

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
	// The linker, of a reference in reachable code, and of one met while loading a package.
	missingCall    = regexp.MustCompile(`(?m)^(\S.*): relocation target runtime\.(\S+) not defined`)
	missingBuiltin = regexp.MustCompile(`reference to undefined builtin "runtime\.([^"]+)" from package "([^"]+)"`)
	// The compiler's listing: of a package, of a function in it, and an instruction with the name
	// of something of package runtime or the type of a map.
	listingPackage  = regexp.MustCompile(`^# (\S+)`)
	listingFunction = regexp.MustCompile(`^(\S.*) STEXT `)
	listingUse      = regexp.MustCompile(`\(([^()]+:\d+)\)\s+[A-Z].*\b(?:runtime\.(\w+)\(SB\)|type:(map)\[)`)
)

// A missing is what the linker did not find: a name of package runtime, and what refers to it, a
// function or a whole package.
type missing struct{ name, from string }

// missingRuntime finds in a failed build's output what was missing of package runtime. The linker
// calls the program's own package main; the go command heads the linker's words with its path.
func missingRuntime(said string) []missing {
	var found []missing
	for _, m := range missingCall.FindAllStringSubmatch(said, -1) {
		found = append(found, missing{m[2], m[1]})
	}
	program := listingPackage.FindStringSubmatch(said)
	for _, m := range missingBuiltin.FindAllStringSubmatch(said, -1) {
		if m[2] == "main" && program != nil {
			m[2] = program[1]
		}
		found = append(found, missing{m[1], m[2]})
	}
	return found
}

// isFor reports whether the use of a name is one of what is missing. A type of a map names a
// function that makes hashes of keys, which is what is missing first wherever a map is used. At
// a defer stands deferproc, unless the compiler's optimiser took it away, and at the end of the
// function deferreturn.
func (m missing) isFor(name string) bool {
	switch {
	case strings.Contains(m.name, "hash"):
		return strings.HasPrefix(name, "map") || strings.HasPrefix(name, "makemap")
	case strings.HasPrefix(m.name, "defer"):
		return strings.HasPrefix(name, "deferproc")
	}
	return m.name == name
}

// hasDefer reports whether a defer is among what is missing.
func hasDefer(all []missing) bool {
	return slices.ContainsFunc(all, func(m missing) bool { return strings.HasPrefix(m.name, "defer") })
}

// explain turns the linker's words into file, line and construct, by the compiler's listing. Where
// the listing has no such line, the linker's words stand.
func explain(pkg string, all []missing, listing, said string) error {
	var lines []string
	current, function := "", ""
	for line := range strings.Lines(listing) {
		if m := listingPackage.FindStringSubmatch(line); m != nil {
			current, function = m[1], ""
		} else if m := listingFunction.FindStringSubmatch(line); m != nil {
			function = m[1]
		}
		m := listingUse.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := m[2] + m[3]
		if slices.ContainsFunc(all, func(x missing) bool { return (x.from == current || x.from == function) && x.isFor(name) }) {
			lines = append(lines, strings.TrimPrefix(m[1], "kapsel/")+": "+construct(name))
		}
	}
	if len(lines) == 0 {
		return fmt.Errorf("building %q failed:\n%s", pkg, said)
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	return fmt.Errorf("%q may not use what has no place under it (docs/HACKING.md):\n  %s", pkg, strings.Join(lines, "\n  "))
}
