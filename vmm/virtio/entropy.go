package virtio

import (
	"crypto/rand"
	"errors"

	"kapsel/guest/abi/virtio"
)

// entropyMax is the most random bytes that one request gets.
const entropyMax = 64 << 10

// Entropy is an entropy device (5.4): it fills the driver's buffers with random bytes of the host's, by getrandom(2).
type Entropy struct{ queue *Queue }

// NewEntropy makes an entropy device, with one queue.
func NewEntropy() *Entropy { return &Entropy{} }

// ID is virtio.IDEntropy.
func (e *Entropy) ID() uint32 { return virtio.IDEntropy }

// Features are none.
func (e *Entropy) Features() uint64 { return 0 }

// QueueMax is that of the one queue, of requests.
func (e *Entropy) QueueMax() []uint16 { return []uint16{64} }

// ReadConfig does nothing: there is no configuration.
func (e *Entropy) ReadConfig(uint64, []byte) {}

// WriteConfig does nothing.
func (e *Entropy) WriteConfig(uint64, []byte) {}

// Activate begins a session.
func (e *Entropy) Activate(_ uint64, queues []*Queue) { e.queue = queues[0] }

// Notify answers requests.
func (e *Entropy) Notify(int) {
	for c, ok := e.queue.Next(); ok; c, ok = e.queue.Next() {
		if err := e.fill(c); err != nil {
			e.queue.Break(err)
			return
		}
	}
}

// A device writes one byte at the least (5.4.6.1).
var errNoRoom = errors.New("a request for entropy has no room for any")

// fill gives a request random bytes, right into the guest's memory: as many as it has room for, and entropyMax at the most.
func (e *Entropy) fill(c *Chain) error {
	if c.Writable() == 0 {
		return errNoRoom
	}
	var n uint32
	for _, piece := range c.WriteVector(entropyMax) {
		rand.Read(piece) // it never fails
		n += uint32(len(piece))
	}
	e.queue.Use(c, n)
	return nil
}

// Reset ends the session.
func (e *Entropy) Reset() { e.queue = nil }

// Save does nothing: between two requests there is nothing to remember.
func (e *Entropy) Save(*State) {}

// Restore begins a session, if there are queues.
func (e *Entropy) Restore(features uint64, queues []*Queue, _ *State) error {
	if queues != nil {
		e.Activate(features, queues)
	}
	return nil
}

// Close does nothing: the device holds nothing.
func (e *Entropy) Close() error { return nil }
