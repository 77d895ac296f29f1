package kernel

import (
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/format"
)

// Component is one line of a board's list of capsules: one that may fail without the rest, what it needs, and how it is made.
type Component struct {
	Name string // of its package, below kapsel/guest/capsules; each name is in the list once
	Uses string // the names of those in the list that it calls, with spaces between
	With string // likewise, of those of them that fall with it: they have its memory, and nobody takes that from them but their own end

	// Init makes the capsule, and gives it to the kernel and to those that it uses. It reports false if the capsule is not wanted
	// on this machine. It is called again, on cleared state, when the capsule failed: it takes no further memory then.
	Init func(can capability.Set) bool
	// Clear makes the capsule's state what it was before Init.
	Clear func()
	// Fell gives up what the kernel keeps for the capsule, when that has failed: from the main loop, before it is made anew, if it is. It is
	// nil if there is nothing.
	Fell func()
	// Ready reports whether Init can be called by now. It is nil for a capsule that waits for nothing.
	Ready func() bool
	// Debug says that the kernel's messages go through the capsule.
	Debug bool
	// Plain is in place of Init and Clear for a capsule that needs nothing of the board but memory in tasks.
	Plain interface {
		Capsule
		Clear()
	}

	uses, with uint64 // the components that are named, by index
	grants     span   // in Kernel.allSlots
	deferred   span   // in Kernel.deferred.clients
	drivers    span   // of Kernel.drivers, by their order
	failures   uint32
}

// A span is a half-open range of indexes.
type span struct{ from, to int }

// maxComponents is how many lines a board's list has at most: a set of them is a word.
const maxComponents = 64

// Components is a board's list of capsules, with those that are used before their users.
type Components struct {
	_        notComparable
	kernel   *Kernel
	host     Host
	can      capability.Set
	list     []Component
	made     uint64 // a bit for each, by index
	fallen   uint64 // failed, or fell with one that did
	untold   uint64 // of the fallen, those of which tasks are not told yet
	off      uint64 // of the fallen, those that stay so
	waits    bool   // of the fallen, some wait for something to be made anew
	contains bool   // a failure is the capsule's; else it ends the machine
	policy   FailurePolicy
	restarts uint32 // of each
	work     DeferredCall
	lines    [maxLines]interruptLine
	resolved bool
	wiring   int // the component that is being made, or -1
	reports  [maxReports]report
	reported int // of them, those to print
	missed   int // failures for which there was no room
	kept     [maxGrants]Slots
}

// maxLines is how many interrupt lines capsules serve at most.
const maxLines = 64

// An interruptLine is a line that a capsule serves.
type interruptLine struct {
	_      notComparable
	driver Interrupted
	owner  int
}

// Interrupted is a driver whose device interrupts.
type Interrupted interface{ HandleInterrupt() }

// Host is what the machine does for the list.
type Host interface {
	// Route lets a line interrupt, and Unroute masks it.
	Route(line uint32)
	Unroute(line uint32)
	// PrintFrame writes the function, file and line of an instruction of the kernel.
	PrintFrame(w Writer, pc uint64)
	// Polled is a writer that no capsule has a part in.
	Polled() Writer
}

// Init takes the list. A name that is there twice, or that is used and not there before its user, is a wiring error, which tools/capcheck
// finds.
func (c *Components) Init(k *Kernel, list []Component, host Host, can capability.Set) {
	if len(list) > maxComponents {
		panic(misuse + "a board lists more than 64 components")
	}
	c.kernel, c.list, c.host, c.can = k, list, host, can
	c.work.Register(k, c)
	c.wiring = -1
}

// resolve finds the components that are named, when that is first needed: booting does not wait for it.
func (c *Components) resolve() {
	if c.resolved {
		return
	}
	c.resolved = true
	for i := range c.list {
		p := &c.list[i]
		p.uses, p.with = c.named(p.Uses, i), c.named(p.With, i)
		if c.index(p.Name, i) != i {
			panic(misuse + "a board lists a component twice")
		}
	}
}

// index is the index of the component with a name among the first n, or n.
func (c *Components) index(name string, n int) int {
	i := 0
	for i < n && c.list[i].Name != name {
		i++
	}
	return i
}

// Made reports whether the component of a name was made and has not failed.
func (c *Components) Made(name string) bool {
	i := c.index(name, len(c.list))
	return i < len(c.list) && (c.made&^c.fallen)>>i&1 != 0
}

// named is the set of those among the first n components that names name, with spaces between.
func (c *Components) named(names string, n int) (set uint64) {
	for names != "" {
		end := 0
		for end < len(names) && names[end] != ' ' {
			end++
		}
		i := c.index(names[:end], n)
		if i == n {
			panic(misuse + "a component uses what the board does not list before it")
		}
		set |= 1 << i
		names = names[min(end+1, len(names)):]
	}
	return set
}

// Wire makes the components that wait for nothing. A failure of one of them ends the machine.
func (c *Components) Wire() {
	for i := range c.list {
		if c.list[i].Ready == nil {
			c.wire(i)
		}
	}
}

// WireRest makes the others, each when it is ready: meanwhile kernel work is done.
func (c *Components) WireRest() {
	for i := range c.list {
		ready := c.list[i].Ready
		if ready == nil {
			continue
		}
		if !ready() {
			c.contains = true
			c.kernel.ServeUntil(ready, c.can.MainLoop)
			c.contains = false
		}
		c.wire(i)
	}
	c.contains = true
}

// wire makes a component, and notes what it gave to the kernel.
func (c *Components) wire(i int) {
	k, p := c.kernel, &c.list[i]
	p.drivers.from, p.grants.from, p.deferred.from = k.drivers.count, k.grants, int(k.deferred.count)
	if c.make(i) {
		c.made |= 1 << i
	}
	p.drivers.to, p.grants.to, p.deferred.to = k.drivers.count, k.grants, int(k.deferred.count)
}

// make has a component make itself.
func (c *Components) make(i int) bool {
	c.wiring = i
	p := &c.list[i]
	made := true
	if p.Plain != nil {
		p.Plain.Init(c.kernel, c.can.MemoryAllocation)
	} else {
		made = p.Init(c.can)
	}
	c.wiring = -1
	return made
}

// Serve has a driver, of the component that is being made, serve an interrupt line. No interrupt is served, nor lost, before the main
// loop.
func (c *Components) Serve(line uint32, driver Interrupted) {
	l := &c.lines[line]
	l.driver, l.owner = driver, c.wiring
	c.host.Route(line)
}

// Interrupt has the driver of a line serve it.
func (c *Components) Interrupt(line int) {
	if d := c.lines[uint(line)%maxLines].driver; d != nil {
		d.HandleInterrupt()
	}
	c.Look()
}

// Print writes the list: the components that were made, which of those they use, and what failed.
func (c *Components) Print(w Writer) {
	c.resolve()
	for i := range c.list {
		if p := &c.list[i]; c.made>>i&1 != 0 {
			c.print(w, p)
			if p.failures != 0 {
				format.Print(w, "; failed %d times", uint64(p.failures))
			}
			if c.off>>i&1 != 0 {
				w.WriteString("; stays off")
			}
			w.WriteString("\n")
		}
	}
}

func (c *Components) print(w Writer, p *Component) {
	w.WriteString("  ")
	w.WriteString(p.Name)
	between := ": uses "
	for i := range c.list {
		if q := &c.list[i]; (p.uses&c.made)>>i&1 != 0 {
			w.WriteString(between)
			w.WriteString(q.Name)
			between = ", "
		}
	}
}

// Plain is a capsule that needs nothing of the board but memory in tasks, as a line of the list has it:
//
//	{Name: "sum", Plain: &kernel.Plain[sum.Sum, *sum.Sum]{}}
type Plain[T any, P interface {
	*T
	Capsule
}] struct{ capsule T }

// Init implements Capsule.
func (p *Plain[T, P]) Init(k *Kernel, c capability.MemoryAllocation) { P(&p.capsule).Init(k, c) }

// Clear makes the capsule what it was before Init.
func (p *Plain[T, P]) Clear() {
	var cleared T
	p.capsule = cleared
}
