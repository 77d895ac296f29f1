package kernel

import "math/bits"

// maxDeferred is the number of deferred calls of the whole system.
const maxDeferred = 64

// DeferredClient is what a deferred call calls.
type DeferredClient interface {
	// HandleDeferredCall runs from the main loop, never from within Set. It does one bounded
	// piece of work: what is left it sets the call for again.
	HandleDeferredCall()
}

// DeferredCall lets a capsule ask to be called back by the main loop, so that it never
// calls a client from within the client's own call. It is a field of the capsule.
type DeferredCall struct {
	_      notComparable
	kernel *Kernel
	mask   uint64
}

// Register ties the call to its client. It is called once for each DeferredCall, before
// the main loop; a second time, or beyond 64 in the whole system, is a wiring error.
//
//go:noinline
func (d *DeferredCall) Register(k *Kernel, client DeferredClient) {
	if d.kernel != nil || k.deferred.count == maxDeferred {
		panic(misuse + "a deferred call was registered twice, or beyond 64")
	}
	d.kernel = k
	d.mask = 1 << k.deferred.count
	k.deferred.clients[k.deferred.count].client = client
	k.deferred.count++
}

// Set asks for the call. Setting it again before it ran changes nothing.
//
//go:noinline
func (d *DeferredCall) Set() {
	if d.kernel == nil {
		panic(misuse + "a deferred call was set before it was registered")
	}
	d.kernel.deferred.pending |= d.mask
	d.kernel.goesOn = false
}

// notComparable keeps what has a field of it from being compared. Nobody would, and so the
// compiler makes no function for it.
type notComparable [0]func()

// deferredCalls are the registered clients and those that wait to be called.
type deferredCalls struct {
	_       notComparable
	pending uint64
	count   uint32
	running uint32 // which of the clients was called last
	clients [maxDeferred]deferredClient
}

// deferredClient is a registered client.
type deferredClient struct {
	_      notComparable
	client DeferredClient
}

// run calls the clients that wait, in the order of their registration, each once, but those that fail meanwhile.
func (d *deferredCalls) run() {
	for waiting := d.pending; waiting != 0; waiting &= (waiting - 1) & d.pending {
		i := bits.TrailingZeros64(waiting) & (maxDeferred - 1)
		d.pending &^= 1 << i
		d.running = uint32(i)
		d.clients[i].client.HandleDeferredCall()
	}
}
