package tcp

// duplicateThreshold is how many duplicate acknowledgments tell of a loss (RFC 5681, 3.2).
const duplicateThreshold = 3

// maxCongestionWindow is twice what a peer without window scaling can offer.
const maxCongestionWindow = 2 * 0xffff

// congestion is slow start, congestion avoidance, fast retransmit and fast recovery (RFC 5681), by NewReno (RFC 6582) and with
// limited transmit (RFC 3042).
type congestion struct {
	window     uint32 // cwnd, in bytes
	threshold  uint32 // ssthresh
	recover    uint32 // fast recovery ends here
	duplicates uint8  // acknowledgments in a row
	recovering bool
	partial    bool // a partial acknowledgment has come in this fast recovery
	resend     bool // the segment at una is to be sent again
}

// initialWindow is that of RFC 6928.
func initialWindow(mss uint32) uint32 { return min(10*mss, max(2*mss, 14600)) }

func (g *congestion) start(mss, first uint32) {
	*g = congestion{window: initialWindow(mss), threshold: maxCongestionWindow, recover: first}
}

// allowed is how many bytes may be under way.
func (g *congestion) allowed(mss uint32) uint32 {
	if g.recovering {
		return g.window
	}
	return g.window + mss*uint32(min(g.duplicates, duplicateThreshold-1))
}

// halve sets the threshold at a loss (RFC 5681, equation 4).
func (g *congestion) halve(o *sender) { g.threshold = max((o.max-o.una)/2, 2*o.mss) }

// timeout is the loss that the timer tells of; first: the segment was not sent again before.
func (g *congestion) timeout(o *sender, first bool) {
	if first {
		g.halve(o)
	}
	g.window = o.mss
	g.recover = o.max
	g.duplicates, g.recovering, g.resend = 0, false, false
}

// idle begins anew with the initial window, when nothing was sent for long (RFC 5681, 4.1).
func (g *congestion) idle(mss uint32) { g.window = min(g.window, initialWindow(mss)) }

// duplicate is a duplicate acknowledgment.
func (g *congestion) duplicate(o *sender) {
	g.duplicates = min(g.duplicates+1, 100)
	switch {
	case g.recovering:
		g.grow(o.mss)
	case g.duplicates == duplicateThreshold && !before(o.una, g.recover):
		g.halve(o)
		g.window = g.threshold + duplicateThreshold*o.mss
		g.recover = o.max
		g.recovering, g.partial, g.resend = true, false, true
	}
}

// acknowledged is an acknowledgment of n bytes; una has moved. It reports true if the timer is to run on (RFC 6582, 3.2, step 3).
func (g *congestion) acknowledged(o *sender, n uint32) (runOn bool) {
	g.duplicates = 0
	switch {
	case g.recovering && before(o.una, g.recover):
		runOn = g.partial
		g.window -= min(g.window, n)
		if n >= o.mss {
			g.window += o.mss
		}
		g.window = max(g.window, o.mss)
		g.partial, g.resend = true, true
	case g.recovering:
		g.window = min(g.threshold, max(o.max-o.una, o.mss)+o.mss)
		g.recovering, g.resend = false, false
	case g.window < g.threshold:
		g.grow(min(n, o.mss))
	default:
		g.grow(max(1, o.mss*o.mss/g.window))
	}
	return runOn
}

func (g *congestion) grow(n uint32) { g.window = min(g.window+n, maxCongestionWindow) }
