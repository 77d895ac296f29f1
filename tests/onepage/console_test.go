package onepage

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm"
)

// A stuckWriter takes nothing until the test ends, and says when it was asked to.
type stuckWriter struct {
	once  sync.Once
	asked chan struct{}
	free  chan struct{}
}

func newStuckWriter(t *testing.T) *stuckWriter {
	w := &stuckWriter{asked: make(chan struct{}), free: make(chan struct{})}
	t.Cleanup(func() { close(w.free) })
	return w
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.asked) })
	<-w.free
	return len(p), nil
}

// TestConsoleThatTakesNothing: it holds neither a context's end nor Close.
func TestConsoleThatTakesNothing(t *testing.T) {
	for name, code := range map[string][]byte{
		"the guest prints without end": join(hello, outDXAL, []byte{0xeb, 0xfd}), // 1: out; jmp 1b
		"it sends a long string":       join(hello, outString(1<<20)),
		"it has printed, and spins":    join(hello, spin),
		"it has printed, and ended":    join(hello, exit(0)),
	} {
		for _, closes := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newStuckWriter(t)
				m := newMachine(t, code, vmm.Config{Console: w})
				ctx, cancel := context.WithCancel(t.Context())
				var end vmm.Exit
				var err error
				done := make(chan struct{})
				go func() { end, err = m.Run(ctx); close(done) }()
				<-w.asked
				if closes {
					require.NoError(t, m.Close())
				}
				cancel()
				select {
				case <-done:
				case <-time.After(patience):
					t.Fatal("Run does not return")
				}
				require.NoError(t, err)
				assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, end)
			})
		}
	}
}

// TestSlowConsole: it gets all that the guest sent, in order, before Run returns.
func TestSlowConsole(t *testing.T) {
	needKVM(t)
	var text bytes.Buffer
	console := slowWriter{&text}
	const n = 300_000 // more than is kept
	code := join([]byte{0xb0, 'a'}, movEDX(0x3f8), movECX(n),
		outDXAL, []byte{0x34, 1, 0xff, 0xc9, 0x75, 0xf9}, // 1: out; xor $1, %al; dec %ecx; jne 1b
		exit(7))
	m := newMachine(t, code, vmm.Config{Console: console})
	end, err := m.Run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, guestExit(7), end)
	assert.True(t, bytes.Equal(bytes.Repeat([]byte("a`"), n/2), text.Bytes()))
}

// A slowWriter takes its time for each Write.
type slowWriter struct{ *bytes.Buffer }

func (w slowWriter) Write(p []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return w.Buffer.Write(p)
}
