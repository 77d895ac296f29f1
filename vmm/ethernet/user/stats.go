package user

import (
	"sync"
	"sync/atomic"
)

// Stats counts what happened on a network.
type Stats struct {
	// Connections and Flows were made for the guest, Forwarded ones to it.
	Connections, Flows, Forwarded uint64
	// Denied were asked for by the guest, and no rule allows them. Failed were allowed, and the
	// other side could not be reached.
	Denied, Failed uint64
	// Full found as many at once as there may be.
	Full uint64
	// Names were looked up, NamesDenied asked for though no rule has them.
	Names, NamesDenied uint64
	// FramesRefused are the guest's frames that no machine of the network would take.
	FramesRefused uint64
}

// counters are the live Stats.
type counters struct {
	connections, flows, forwarded, denied, failed, full, names, namesDenied, framesRefused atomic.Uint64
}

// Stats returns the counters. It may be called at any time.
func (n *Network) Stats() Stats {
	c := &n.stats
	return Stats{
		Connections: c.connections.Load(), Flows: c.flows.Load(), Forwarded: c.forwarded.Load(),
		Denied: c.denied.Load(), Failed: c.failed.Load(), Full: c.full.Load(),
		Names: c.names.Load(), NamesDenied: c.namesDenied.Load(), FramesRefused: c.framesRefused.Load(),
	}
}

// maxTold is how many lines about refusals a network writes.
const maxTold = 32

// refusals tell of each thing that is refused once, and of few: a guest chooses what they are.
type refusals struct {
	log  func(format string, args ...any)
	mu   sync.Mutex
	told map[string]bool
}

// tell says why something is refused, if that was not said before.
func (r *refusals) tell(what, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[what] || len(r.told) > maxTold {
		return
	}
	if r.told == nil {
		r.told = make(map[string]bool)
	}
	r.told[what] = true
	if len(r.told) > maxTold {
		r.log("network: what else is refused is counted, and not said")
		return
	}
	r.log("network: %s is refused: %s", what, why)
}
