package kernel_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/kerneltest"
)

// TestComponents: lines are made in their order, those that wait for something behind the others; what is made is printed with
// what it uses of what is made.
func TestComponents(t *testing.T) {
	m := newMachine(t)
	caps := capability.Mint()
	var made []string
	line := func(name, uses string, wanted bool) kernel.Component {
		return kernel.Component{Name: name, Uses: uses, Init: func(capability.Set) bool {
			made = append(made, name)
			return wanted
		}}
	}
	late := line("late", "uart", true)
	late.Ready = func() bool { return len(made) == 4 }
	list := []kernel.Component{line("uart", "", true), line("virtio", "", false), late, line("mux", "uart virtio", true), line("console", "mux", true)}
	var c kernel.Components
	c.Init(&m.Kernel, list, new(host), caps)
	c.Wire()
	assert.Equal(t, []string{"uart", "virtio", "mux", "console"}, made)
	assert.True(t, c.Made("mux"))
	assert.False(t, c.Made("virtio"))
	assert.False(t, c.Made("late"))
	assert.False(t, c.Made("nobody"))
	c.WireRest()
	assert.True(t, c.Made("late"))
	m.Log.Reset()
	c.Print(&m.Log)
	assert.Equal(t, "  uart\n  late: uses uart\n  mux: uses uart\n  console: uses mux\n", m.Log.String())
}

// TestComponentsWiringErrors: a list that is wrong is found when it is first needed.
func TestComponentsWiringErrors(t *testing.T) {
	for name, list := range map[string][]kernel.Component{
		"used before it is there": {{Name: "a", Uses: "b"}, {Name: "b"}},
		"used by itself":          {{Name: "a", Uses: "a"}},
		"nobody's name":           {{Name: "a"}, {Name: "b", Uses: "a c"}},
		"a part of a name":        {{Name: "alarmmux"}, {Name: "b", Uses: "alarm"}},
		"twice":                   {{Name: "a"}, {Name: "a"}},
		"too many":                make([]kernel.Component, 65),
	} {
		assert.Panics(t, func() { printList(list) }, name)
	}
	names := make([]kernel.Component, 64)
	for i := range names {
		names[i].Name = strings.Repeat("n", i+1)
	}
	assert.NotPanics(t, func() { printList(names) })
}

func printList(list []kernel.Component) {
	var c kernel.Components
	c.Init(new(kernel.Kernel), list, nil, capability.Set{})
	c.Print(new(kerneltest.Log))
}

// host is the machine of a list.
type host struct {
	routed map[uint32]bool
	log    kerneltest.Log
}

func (h *host) Route(line uint32) {
	if h.routed == nil {
		h.routed = map[uint32]bool{}
	}
	h.routed[line] = true
}

func (h *host) Unroute(line uint32)                   { h.routed[line] = false }
func (h *host) PrintFrame(w kernel.Writer, pc uint64) { format.Print(w, "  at 0x%x\n", pc) }
func (h *host) Polled() kernel.Writer                 { return &h.log }
