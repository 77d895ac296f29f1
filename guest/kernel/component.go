package kernel

import "kapsel/guest/kernel/capability"

// Component is one line of a board's list of capsules: one that may fail without the rest, what it needs, and how it is made.
type Component struct {
	Name string // of its package, below kapsel/guest/capsules; each name is in the list once
	Uses string // the names of those in the list that it calls, with spaces between

	// Init makes the capsule, and gives it to the kernel and to those that it uses. It reports false if the capsule is not wanted
	// on this machine. It is called again, on cleared state, when the capsule failed: it takes no further memory then.
	Init func(can capability.Set) bool
	// Clear makes the capsule's state what it was before Init.
	Clear func()
	// Ready reports whether Init can be called by now. It is nil for a capsule that waits for nothing.
	Ready func() bool
	// Plain is in place of Init and Clear for a capsule that needs nothing of the board but memory in tasks.
	Plain interface {
		Capsule
		Clear()
	}

	uses  uint64 // the components that Uses names, by index
	wired bool
}

// maxComponents is how many lines a board's list has at most: a set of them is a word.
const maxComponents = 64

// Components is a board's list of capsules, with those that are used before their users.
type Components struct {
	_      notComparable
	kernel *Kernel
	list   []Component
}

// Init takes the list. A name that is there twice, or that is used and not there before its user, is a wiring error.
func (c *Components) Init(k *Kernel, list []Component) {
	if len(list) > maxComponents {
		panic(misuse + "a board lists more than 64 components")
	}
	c.kernel, c.list = k, list
	for i := range list {
		list[i].uses = c.named(list[i].Uses, i)
		if c.index(list[i].Name, i) != i {
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

// Made reports whether the component of a name was made.
func (c *Components) Made(name string) bool {
	i := c.index(name, len(c.list))
	return i < len(c.list) && c.list[i].wired
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

// Wire makes the components that wait for nothing.
func (c *Components) Wire(can capability.Set) {
	for i := range c.list {
		if c.list[i].Ready == nil {
			c.wire(i, can)
		}
	}
}

// WireRest makes the others, each when it is ready: meanwhile kernel work is done.
func (c *Components) WireRest(can capability.Set) {
	for i := range c.list {
		if ready := c.list[i].Ready; ready != nil {
			c.kernel.ServeUntil(ready, can.MainLoop)
			c.wire(i, can)
		}
	}
}

// wire makes a component.
func (c *Components) wire(i int, can capability.Set) {
	p := &c.list[i]
	if p.Plain != nil {
		p.Plain.Init(c.kernel, can.MemoryAllocation)
		p.wired = true
		return
	}
	p.wired = p.Init(can)
}

// Print writes the list: the components that were made, and which of those they use.
func (c *Components) Print(w Writer) {
	for i := range c.list {
		if p := &c.list[i]; p.wired {
			c.print(w, p)
		}
	}
}

func (c *Components) print(w Writer, p *Component) {
	w.WriteString("  ")
	w.WriteString(p.Name)
	between := ": uses "
	for i := range c.list {
		if q := &c.list[i]; p.uses>>i&1 != 0 && q.wired {
			w.WriteString(between)
			w.WriteString(q.Name)
			between = ", "
		}
	}
	w.WriteString("\n")
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
