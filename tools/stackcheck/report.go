package main

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

const (
	archDir     = "guest/arch/amd64"
	archPackage = "kapsel/" + archDir
	pageSize    = 4096
)

// hardwareFrame is what an exception or interrupt in ring 0 leaves above kernelTrap's frame: up to 8
// bytes of alignment, SS, RSP, RFLAGS, CS, RIP (Intel SDM vol. 3, 6.14.2), an error code, and the stub's return
// address, which tells the vector.
const hardwareFrame = 8 + 5*8 + 8 + 8

// A report is the result: stacks, and what is entered on them.
type report struct {
	*graph
	entries []entry // on the kernel's stack, as the system runs
	deaths  []entry // on top of the deepest of these, once
	others  []entry // on stacks of their own
	size    int     // of the kernel's stack
	guard   int     // bytes at its end that stack checks keep free for NOSPLIT functions
}

// An entry is a way into the kernel.
type entry struct {
	name  string
	root  *function
	above int // bytes of the stack in use when it is entered
	bytes int // it needs below that
	size  int // of the stack, for those on stacks of their own
}

func (e entry) total() int { return e.above + e.bytes }

// measure measures all entries.
func measure(g *graph) (*report, error) {
	r := &report{graph: g}
	start, err := g.one("kapsel.start")
	if err != nil {
		return nil, err
	}
	if r.guard, err = g.guard(start); err != nil {
		return nil, err
	}
	stack, ok := g.symbols[archPackage+".stack"]
	if !ok {
		return nil, errors.New("it has no " + archPackage + ".stack, which is the kernel's stack")
	}
	r.size = int(stack.Size) - 2*pageSize // without the guard page and what aligns it
	bytes := g.reach(start)
	if err := r.deathsAndOthers(); err != nil {
		return nil, err
	}
	for _, pair := range g.unseen() {
		g.problem("the image has an interface table for %s: no assignment that makes one was found", pair)
	}
	if len(g.problems) == 0 {
		for _, f := range g.unreached() {
			g.problem("%v: %s is in the image, and no chain of calls reaches it: a call was overlooked", g.where(f), g.short(f))
		}
	}
	if len(g.problems) > 0 {
		sort.Strings(g.problems)
		return r, nil
	}
	above := g.above(start)
	r.entries = append(r.entries, entry{name: "boot", root: start, bytes: bytes})
	if err := r.inside(above); err != nil {
		return nil, err
	}
	return r, nil
}

// reach is how deep the calls from a root go.
func (g *graph) reach(root *function) int { return g.measure(root).bytes }

// inside adds the entries that the main loop calls.
func (r *report) inside(above map[*function]int) error {
	add := func(name string, roots []*function) {
		for _, f := range roots {
			shown := name
			if len(roots) > 1 {
				shown += ": " + r.short(f)
			}
			r.entries = append(r.entries, entry{name: shown, root: f, above: above[f], bytes: r.depths[f].bytes})
		}
	}
	loop := "(*Kernel).loop"
	if _, err := r.one("kapsel/guest/kernel." + loop); err != nil {
		loop = "(*Kernel).RunTelling" // of a board that is told when there is nothing to do
	}
	for _, named := range []struct{ name, function string }{
		{"main loop", loop}, {"system call", "SystemCall"}, {"fault of a task", "(*Kernel).fault"},
	} {
		f, err := r.one("kapsel/guest/kernel." + named.function)
		if err != nil {
			return err
		}
		add(named.name, []*function{f})
	}
	for _, called := range []struct{ name, iface, method string }{
		{"interrupt", "Platform", "Interrupt"}, {"deferred call", "DeferredClient", "HandleDeferredCall"},
	} {
		add(called.name, r.implementations("kapsel/guest/kernel", called.iface, called.method))
	}
	trap, err := r.one(archPackage + ".kernelTrap")
	if err != nil {
		return err
	}
	for _, open := range []struct{ name, function string }{{"interrupt while idle", "idle"}, {"interrupt while polling", "poll"}} {
		f, err := r.one(archPackage + "." + open.function)
		if err != nil {
			return err
		}
		r.entries = append(r.entries, entry{name: open.name, root: trap, above: above[f] + f.Frame, bytes: hardwareFrame + trap.Frame})
	}
	return nil
}

// deathsAndOthers measures what ends the kernel.
func (r *report) deathsAndOthers() error {
	deepest := entry{name: "panic"}
	for name := range panics {
		for _, f := range r.byName[name] {
			if bytes := 8 + r.reach(f); bytes > deepest.bytes || bytes == deepest.bytes && f.Name < deepest.root.Name {
				deepest.root, deepest.bytes = f, bytes
			}
		}
	}
	trap, err := r.one(archPackage + ".kernelTrap")
	if err != nil {
		return err
	}
	fault := hardwareFrame + r.reach(trap)
	r.deaths = []entry{deepest, {name: "exception in ring 0", root: trap, bytes: fault}}
	overflow, err := r.one("runtime.stackOverflow")
	if err != nil {
		return err
	}
	r.others = []entry{
		{name: "stack overflow, on panicStack", root: overflow, bytes: 8 + r.reach(overflow), size: int(r.symbols["runtime.panicStack"].Size)},
		{name: "double fault, machine check or NMI, on its own", root: trap, bytes: fault, size: int(r.symbols[archPackage+".istStacks"].Size) / 4},
	}
	return nil
}

// one returns the function of a name. Of a name that assembly and its wrapper share it is the
// wrapper, which calls the other.
func (g *graph) one(name string) (*function, error) {
	var found *function
	for _, f := range g.byName[name] {
		if found == nil || !f.Assembly() {
			found = f
		}
	}
	if found == nil {
		return nil, fmt.Errorf("it has no function %s, which is one of the entries that are measured (tools/stackcheck/report.go)", name)
	}
	return found, nil
}

// implementations returns what a method of an interface can be, by name.
func (r *report) implementations(pkg, iface, method string) []*function {
	p := r.resolver.done[pkg]
	if p == nil {
		return nil
	}
	o := p.Scope().Lookup(iface)
	if o == nil {
		return nil
	}
	m := methodOf(o.Type(), method)
	if m == nil {
		return nil
	}
	list := r.resolver.everyMethod(o.Type(), m)
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// guard is what kapsel.start adds to the stack's lowest address for g.stackguard0.
func (g *graph) guard(start *function) (int, error) {
	for at := start.Addr; at < start.End; {
		in, err := decode(g.code[at-g.text : start.End-g.text])
		if err != nil {
			return 0, err
		}
		if n, ok := in.Args[1].(x86asm.Imm); ok && in.Op == x86asm.ADD {
			return int(n), nil
		}
		at += uint64(in.Len)
	}
	return 0, errors.New("kapsel.start adds nothing to the stack's lowest address: where is the guard for NOSPLIT functions?")
}

// deepest is the most that the kernel needs as it runs, and worst is that with the worst death on top.
func (r *report) deepest() int { return most(r.entries) }
func (r *report) worst() int   { return r.deepest() + most(r.deaths) }

func most(list []entry) int {
	n := 0
	for _, e := range list {
		n = max(n, e.total())
	}
	return n
}

// margin is what is left of the kernel's stack at the worst, or, if that is less, of another stack.
func (r *report) margin() int {
	m := r.size - r.guard - r.worst()
	for _, e := range r.others {
		m = min(m, e.size-e.bytes)
	}
	return m
}

// print prints the report for a terminal.
func (r *report) print(w io.Writer) {
	for _, e := range r.entries {
		fmt.Fprintf(w, "%-72s %6d bytes\n", e.name, e.total())
	}
	fmt.Fprintf(w, "%-72s %6d bytes\n", "deepest chain", r.deepest())
	for _, e := range r.deaths {
		fmt.Fprintf(w, "%-72s %6d bytes\n", "on top of it, "+e.name, e.bytes)
	}
	fmt.Fprintf(w, "%-72s %6d bytes\n", "kept free for functions without stack checks", r.guard)
	fmt.Fprintf(w, "%-72s %6d of %d bytes, margin %d\n", "kernel stack", r.worst()+r.guard, r.size, r.size-r.guard-r.worst())
	for _, e := range r.others {
		fmt.Fprintf(w, "%-72s %6d of %d bytes, margin %d\n", e.name, e.bytes, e.size, e.size-e.bytes)
	}
}

// printMarkdown prints docs/stack.md.
func (r *report) printMarkdown(w io.Writer) {
	fmt.Fprint(w, strings.TrimSpace(`
# The kernel's stack

Printed by `+"`go run ./tools/stackcheck -markdown`"+` from the machine code of the kernel; not written by hand.

Ring 0 runs on one stack of fixed size: booting, the main loop and everything that it calls. The table has the
deepest chain of calls for each way in. *Above* is what is in use when it is entered, *needs* what it and all it
calls take below that; a return address counts with the caller. Where a call goes through an interface or a
function value, every function counts that can be in it. There is no recursion.
`)+"\n\n| entry | above | needs | total |\n|---|---:|---:|---:|\n")
	for _, e := range r.entries {
		fmt.Fprintf(w, "| %s | %d | %d | %d |\n", e.name, e.above, e.bytes, e.total())
	}
	fmt.Fprintf(w, "\nA panic or an exception in ring 0 ends the machine, wherever it happens, so the worst of them counts once, on\n"+
		"top of the deepest chain.\n\n"+
		"| kernel stack | bytes |\n|---|---:|\n| deepest chain | %d |\n", r.deepest())
	for _, e := range r.deaths {
		fmt.Fprintf(w, "| on top of it, %s | %d |\n", e.name, e.bytes)
	}
	fmt.Fprintf(w, "| chain and the worst of these | %d |\n| kept free for functions without stack checks | %d |\n| size of the stack | %d |\n| **margin** | **%d** |\n\n",
		r.worst(), r.guard, r.size, r.size-r.guard-r.worst())
	fmt.Fprint(w, "| other stacks | needs | size | margin |\n|---|---:|---:|---:|\n")
	for _, e := range r.others {
		fmt.Fprintf(w, "| %s | %d | %d | %d |\n", e.name, e.bytes, e.size, e.size-e.bytes)
	}
	fmt.Fprint(w, "\n## Deepest chains\n\nEach function with its frame at the call and the return address; the last one with all that it needs.\n")
	for _, e := range append(append([]entry(nil), r.entries...), r.deaths...) {
		if e.root.Name == archPackage+".kernelTrap" && e.bytes == hardwareFrame+e.root.Frame {
			continue // it calls nothing
		}
		fmt.Fprintf(w, "\n%s:\n\n```\n", e.name)
		for _, l := range r.chain(e.root) {
			fmt.Fprintf(w, "%6d  %s\n", l.bytes, r.short(l.function))
		}
		fmt.Fprint(w, "```\n")
	}
}
