package ports

import (
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// narrow is a port's outer end with room for three bytes, in front of a peripheral that is a reader and a writer.
type narrow struct {
	mu      sync.Mutex
	held    []byte // of the guest's, not yet written
	answers []byte // for the guest
	wake    func()
	came    chan struct{}
}

func newNarrow(peripheral io.ReadWriter) *narrow {
	n := &narrow{came: make(chan struct{}, 1)}
	go func() {
		for range n.came {
			n.mu.Lock()
			held := n.held
			n.held = nil
			n.mu.Unlock()
			peripheral.Write(held)
			n.call()
		}
	}()
	go func() {
		buffer := make([]byte, 100)
		for {
			got, err := peripheral.Read(buffer)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.answers = append(n.answers, buffer[:got]...)
			n.mu.Unlock()
			n.call()
		}
	}()
	return n
}

// call has the device look again.
func (n *narrow) call() {
	n.mu.Lock()
	wake := n.wake
	n.mu.Unlock()
	if wake != nil {
		wake()
	}
}

func (n *narrow) Attach(wake func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wake = wake
}

func (n *narrow) Offer(p []byte) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := min(len(p), 3-len(n.held))
	n.held = append(n.held, p[:taken]...)
	select {
	case n.came <- struct{}{}:
	default:
	}
	return taken
}

func (n *narrow) Fetch(p []byte) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	got := copy(p, n.answers)
	n.answers = n.answers[got:]
	return got
}

func (n *narrow) Ended() bool { return false }

// TestOwnEnd: a port whose end is the host's own, with little room, is as any other, under both accelerators.
func TestOwnEnd(t *testing.T) {
	var p peripherals
	ports := p.ports(t)
	end := newNarrow(ports[0].Input.(io.ReadWriter))
	defer close(end.came)
	ports[0] = vmm.Port{Name: abi.PortADC, End: end}
	o := boot(t, machine.Object(t, "test/panel.tbf"), ports)
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit)
	assert.Equal(t, []string{
		"channels: 2", "resolution: 12", "reference: 3300",
		"sample: 16", "sample: 320", "sample: 112", "sample: 4800", "sample: 65520", "sample: NODEVICE", "continuous sampling: NOSUPPORT",
	}, said(o)[:10])
}
