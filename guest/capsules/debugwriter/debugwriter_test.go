package debugwriter

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

func newWriter(t *testing.T) (*kerneltest.Machine, *Writer) {
	m := kerneltest.New(t, capability.Mint())
	w := new(Writer)
	w.WriteString("before Init; ")
	w.Init(&m.Kernel, &m.Line)
	return m, w
}

// run lets the machine serve interrupts and deferred calls, with a task that waits.
func run(m *kerneltest.Machine) {
	m.AddTask("task", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.Run()
}

func TestTextIsSentInOrder(t *testing.T) {
	m, w := newWriter(t)
	want := "before Init; "
	for range 100 {
		w.WriteString("a line of text\n")
		want += "a line of text\n"
	}
	assert.Empty(t, m.Line.Sent, "nothing is sent from within the call")
	run(m)
	w.WriteString("later\n")
	m.Continue()
	assert.Equal(t, want+"later\n", strings.Join(m.Line.Sent, ""))
}

func TestQueueGoesAround(t *testing.T) {
	m, w := newWriter(t)
	text := strings.Repeat("0123456789abcdef", queueSize/16-100)
	w.WriteString(text)
	run(m)
	w.WriteString(text)
	m.Continue()
	assert.Equal(t, "before Init; "+text+text, strings.Join(m.Line.Sent, ""))
}

func TestLossIsReported(t *testing.T) {
	m, w := newWriter(t)
	text := strings.Repeat("x", queueSize)
	w.WriteString(text)
	w.WriteString("lost")
	run(m)
	sent := strings.Join(m.Line.Sent, "")
	assert.True(t, strings.HasSuffix(sent, "xxx\n[17 bytes of kernel messages were lost here]\n"), "ends with %q", sent[len(sent)-60:])
}

func TestDrain(t *testing.T) {
	m, w := newWriter(t)
	text := strings.Repeat("0123456789", 100)
	w.WriteString(text)
	w.HandleDeferredCall() // a chunk is under way
	w.WriteString("the end\n")
	w.HandleDeferredCall() // changes nothing
	w.Drain(&m.Line)
	assert.Equal(t, "before Init; "+text+"the end\n", m.Line.Polled)
	w.Drain(&m.Line)
	assert.Equal(t, "before Init; "+text+"the end\n", m.Line.Polled, "nothing is left")
}
