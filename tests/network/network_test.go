// Package network boots the image with a network device, the monitor's own under KVM and QEMU's under QEMU, and has tasks use it by
// the Ethernet tap, driver 0x30007.
package network

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/guest/mirror/wire"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/network"
)

// The image that ships: what is tested is what users get.
const image = "bare.elf"

// patience ends a test that hangs: far more than any takes.
const patience = 3 * time.Minute

// A world is the other end of a machine's network: it sends frames to the task mirror and looks at what comes back.
type world struct {
	*net.UnixConn
	guest  *net.UnixAddr
	random *rand.Rand
}

// inWorld boots a machine with the task mirror, and has f be the world around it. It returns what the machine printed.
func inWorld(t *testing.T, f func(w *world) error) string {
	t.Helper()
	return around(t, machine.Object(t, "test/mirror.tbf"), "mirror: is up\n", f)
}

// around boots a machine with a task, and has f be the world around it once the task says that it is up.
func around(t *testing.T, object []byte, says string, f func(w *world) error) string {
	t.Helper()
	conn, device := machine.Peer(t)
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	w := &world{UnixConn: conn, random: rand.New(rand.NewPCG(1, 2))}
	up := &awaiting{text: says, seen: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		<-up.seen
		ended <- w.meet(f)
	}()
	o := machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{object},
		Devices: []vmm.Device{device}, Timeout: patience, Console: up})
	conn.Close() // ends f, if the machine ended early
	up.end()
	require.NoError(t, <-ended, o.Console)
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit)
	return o.Console
}

// meet waits for the device's announcement, by which its address is known, and runs f.
func (w *world) meet(f func(w *world) error) error {
	var err error
	_, w.guest, err = w.ReadFromUnix(make([]byte, 2000))
	if err == nil {
		err = f(w)
	}
	if err != nil {
		w.end()
	}
	return err
}

// awaiting is a console on which a text is awaited.
type awaiting struct {
	text string
	got  bytes.Buffer
	seen chan struct{}
	was  bool
}

// Write takes what the guest prints.
func (a *awaiting) Write(b []byte) (int, error) {
	a.got.Write(b)
	if strings.Contains(strings.ReplaceAll(a.got.String(), "\r", ""), a.text) {
		a.end()
	}
	return len(b), nil
}

// end has nobody wait any more.
func (a *awaiting) end() {
	if !a.was {
		a.was = true
		close(a.seen)
	}
}

// frame makes a frame of a length and kind, with anything in it.
func (w *world) frame(n int, kind byte, sequence uint32) []byte {
	f := make([]byte, n)
	for i := range f {
		f[i] = byte(w.random.Uint32())
	}
	copy(f, machine.MAC[:])
	copy(f[6:], "\x02\x00\x00\x00\x00\x01")
	wire.Seal(f, kind, sequence)
	return f
}

func (w *world) send(f []byte) error {
	_, err := w.WriteToUnix(f, w.guest)
	return err
}

// expect reads a frame and holds it against what was sent.
func (w *world) expect(sent []byte) error {
	got, err := w.read()
	if err == nil && !bytes.Equal(got, turned(sent)) {
		err = fmt.Errorf("a frame of %d bytes came back as one of %d: % x, want % x", len(sent), len(got), got[:min(len(got), 40)], turned(sent)[:min(len(sent), 40)])
	}
	return err
}

// echoed sends a frame and expects it back.
func (w *world) echoed(f []byte) error {
	if err := w.send(f); err != nil {
		return err
	}
	return w.expect(f)
}

func (w *world) read() ([]byte, error) {
	b := make([]byte, 2000)
	n, _, err := w.ReadFromUnix(b)
	return b[:n], err
}

// turned is what mirror makes of a frame.
func turned(f []byte) []byte {
	f = bytes.Clone(f)
	wire.Turn(f)
	return f
}

// end ends the task.
func (w *world) end() error { return w.send(w.frame(60, wire.End, 0)) }

// inFlight is how many frames are on their way at once: no more than the driver has room for.
const inFlight = 12

// TestFramesByTheTap: 100,000 frames of all lengths, or fewer, go to a task and come back, by our devices and by QEMU's, none is
// corrupted, doubled, lost or out of order.
func TestFramesByTheTap(t *testing.T) {
	frames := fewer(100_000, 20)
	console := inWorld(t, func(w *world) error {
		var waiting [][]byte
		for i := 0; i < frames || len(waiting) > 0; i++ {
			if i < frames {
				f := w.frame(wire.Least+w.random.IntN(ethernet.MaxFrame-wire.Least+1), wire.Echo, uint32(i))
				if err := w.send(f); err != nil {
					return err
				}
				waiting = append(waiting, f)
			}
			if len(waiting) == inFlight || i >= frames {
				if err := w.expect(waiting[0]); err != nil {
					return fmt.Errorf("frame %d: %w", i+1-len(waiting), err)
				}
				waiting = waiting[1:]
			}
		}
		return w.end()
	})
	assert.Contains(t, console, fmt.Sprintf("mirror: %d sent back, %d came, 0 were dropped\n", frames, frames+1))
}

// TestFramesOfEveryLength: malformed frames of every length from 0 to 1518 do no harm: those that are frames at all come back
// as they are, and the next good one does.
func TestFramesOfEveryLength(t *testing.T) {
	console := inWorld(t, func(w *world) error {
		for n := range 1519 {
			f := make([]byte, n)
			for i := range f {
				f[i] = byte(w.random.Uint32())
			}
			if err := w.send(f); err != nil {
				return err
			}
			if n >= ethernet.HeaderSize && n <= ethernet.MaxFrame {
				if err := w.expect(f); err != nil {
					return err
				}
			}
			if err := w.echoed(w.frame(60, wire.Echo, uint32(n))); err != nil {
				return fmt.Errorf("behind a frame of %d bytes: %w", n, err)
			}
		}
		return w.end()
	})
	assert.Contains(t, console, "mirror: 3020 sent back, 3021 came, 0 were dropped\n")
}

// TestFullStream: a task that does not read gets as many frames as its buffer has room for, the others are dropped and
// counted, and the next are right.
func TestFullStream(t *testing.T) {
	const frames, room = 500, 32 // 32 of the largest, tests/guest/mirror
	console := inWorld(t, func(w *world) error {
		for range 3 {
			if err := w.echoed(w.frame(60, wire.Pause, frames)); err != nil {
				return err
			}
			var sent [][]byte
			for i := range frames {
				f := w.frame(ethernet.MaxFrame, wire.Echo, uint32(i))
				sent = append(sent, f)
				if err := w.send(f); err != nil {
					return err
				}
			}
			for _, f := range sent[:room] {
				if err := w.expect(f); err != nil {
					return err
				}
			}
			if err := w.echoed(w.frame(1000, wire.Echo, 0)); err != nil {
				return err
			}
		}
		return w.end()
	})
	assert.Equal(t, 3, strings.Count(console, fmt.Sprintf("mirror: dropped %d of %d\n", frames-room, frames)))
}

// TestTap32: a 32-bit task of Tock's convention finds the driver as Tock's is, by each command, upcall and buffer (testdata/tap32).
func TestTap32(t *testing.T) {
	binary, err := os.ReadFile("testdata/tap32.bin")
	require.NoError(t, err)
	const header = 0x80
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "tap32", Binary: binary, BinaryOffset: header, MinimumRAM: 0x8000,
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x0015_0000 + header, RAM: 0x0021_0000},
	})
	require.NoError(t, err)
	around(t, object, "tap32: is up\n", func(w *world) error {
		for i := range 300 {
			if err := w.echoed(w.frame(wire.Least+i*(ethernet.MaxFrame-wire.Least)/299, wire.Echo, uint32(i))); err != nil {
				return err
			}
		}
		return w.end()
	})
}

// TestWaitWithoutAnAlarm: a task that has no alarm is told so where it waits until a time, and does not wait; without a time it waits for a frame.
func TestWaitWithoutAnAlarm(t *testing.T) {
	console := around(t, machine.Object(t, "test/timeless.tbf"), "timeless: until a time: NODEVICE\n", func(w *world) error {
		return w.send(w.frame(60, wire.End, 0))
	})
	assert.Contains(t, console, "timeless: a frame of 60 bytes\n")
}

// TestTwoMachinesBackToBack: the task sender of one sends frames by a unix socket to the task mirror of the other.
func TestTwoMachinesBackToBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wire")
	boot := func(task string, last byte) machine.Outcome {
		return machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{machine.Object(t, "test/"+task+".tbf")}, Timeout: patience,
			Devices: []vmm.Device{vmm.Network{Connection: network.Config{Unix: path, MAC: ethernet.MAC{2, 0, 0, 0, 0, last}}}}})
	}
	mirror := make(chan machine.Outcome, 1)
	go func() {
		defer close(mirror)
		mirror <- boot("mirror", 1)
	}()
	sender := boot("sender", 2)
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, sender.Exit)
	assert.Contains(t, sender.Console, "sender: 2000 came back, ")
	other := <-mirror
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, other.Exit)
	assert.Regexp(t, `mirror: 2\d\d\d sent back, `, other.Console)
}
