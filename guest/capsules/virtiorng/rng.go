// Package virtiorng drives a virtio entropy device (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2", 5.4). It implements
// hil.Entropy.
package virtiorng

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/generation"
	"kapsel/guest/kernel/hil"
)

// bufferSize is how many bytes are asked for at once at most.
const bufferSize = 256

// RNG is the driver of one device.
type RNG struct {
	transport virtio.Transport
	queue     virtio.Queue
	slots     [1]virtio.Slot
	buffer    dma.Buffer
	client    hil.EntropyClient
	out       []byte // the client's, nil while nobody asks
	n         int    // how much of it is to be filled
	asked     uint64 // the generation in which the device was asked
}

// Init ties the driver to its device. The device's interrupt goes to HandleInterrupt. It returns abi.FAIL if the device is
// broken, which was told then.
func (r *RNG) Init(k *kernel.Kernel, place virtio.Place) abi.ErrorCode {
	t := &r.transport
	t.Init(k, place, "entropy device", r, r)
	r.buffer = place.Memory.Buffer(bufferSize)
	if e := t.Start(spec.IDEntropy, 0); e != abi.OK {
		return e
	}
	if e := r.queue.Init(t, 0, r.slots[:], 1, true); e != abi.OK {
		return e
	}
	return t.Ready()
}

// HandleInterrupt serves the device's interrupt.
func (r *RNG) HandleInterrupt() { r.transport.HandleInterrupt() }

// AlarmFired implements hil.AlarmClient.
func (r *RNG) AlarmFired() { r.transport.AlarmFired() }

// SetEntropyClient implements hil.Entropy.
func (r *RNG) SetEntropyClient(client hil.EntropyClient) { r.client = client }

// GetEntropy implements hil.Entropy.
func (r *RNG) GetEntropy(buf []byte, n int) abi.ErrorCode {
	switch {
	case r.out != nil:
		return abi.BUSY
	case n <= 0 || n > len(buf):
		return abi.SIZE
	}
	if e := r.ask(min(n, bufferSize)); e != abi.OK {
		return e
	}
	r.out = buf
	return abi.OK
}

// ask has the device fill n bytes of the driver's buffer.
func (r *RNG) ask(n int) abi.ErrorCode {
	chain := [1]virtio.Element{{Buffer: r.buffer, Length: n, Writable: true}}
	if _, e := r.queue.Add(chain[:]); e != abi.OK {
		return e
	}
	r.n, r.asked = n, generation.Now()
	r.queue.Kick()
	return abi.OK
}

// Used implements virtio.Driver.
func (r *RNG) Used(_ *virtio.Queue, _ uint16, written uint32) {
	if written == 0 { // "one or more random bytes" (5.4.6.2)
		r.transport.Break("it gives no random bytes")
		return
	}
	if r.asked != generation.Now() { // other machines may have the same bytes
		if e := r.ask(r.n); e != abi.OK {
			r.done(0, e)
		}
		return
	}
	r.done(r.buffer.ReadAt(r.out[:written], 0), abi.OK)
}

// ConfigChanged implements virtio.Driver: there is no configuration.
func (r *RNG) ConfigChanged() {}

// Broken implements virtio.Driver.
func (r *RNG) Broken() {
	if r.out != nil {
		r.done(0, abi.FAIL)
	}
}

// done hands the client's buffer back.
func (r *RNG) done(n int, e abi.ErrorCode) {
	out := r.out
	r.out = nil
	r.client.EntropyDone(out, n, e)
}
