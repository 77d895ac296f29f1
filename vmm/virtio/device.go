package virtio

// Device is a kind of device behind a transport: what is the same for all kinds is MMIO's and Queue's.
//
// A driver that sets DRIVER_OK begins a session, and a reset ends it. In a session the device has a goroutine, on which
// Notify is called, or it is served in step. No other call comes meanwhile but ReadConfig and WriteConfig, which come from the
// processor's thread at any time. What the device starts by itself, such as readers of a backend, asks for a call of Notify by Queue.Wake.
type Device interface {
	// ID is the kind of device (5).
	ID() uint32
	// Features are the features of the kind that the device offers, at most bits 0 to 23 and 50 to 63. The transport adds
	// those of queues.
	Features() uint64
	// QueueMax is the largest size of each queue, a power of two: as many queues as there are, at most 64.
	QueueMax() []uint16
	// ReadConfig fills data, of 1, 2 or 4 bytes, with the configuration at an offset, a multiple of that length. The
	// bytes are 0 before the call: behind the configuration's end they stay.
	ReadConfig(offset uint64, data []byte)
	// WriteConfig takes what the driver writes into the configuration, likewise. The device does not keep data.
	WriteConfig(offset uint64, data []byte)

	// Activate begins a session, with the features that the driver accepted, and all queues. Of a queue that
	// the driver did not set up Next returns nothing. Notify is called for each queue soon after.
	Activate(features uint64, queues []*Queue)
	// Notify says that the driver may have filled a queue, or that somebody called the queue's Wake. It takes requests by
	// Next until there is none, or until it cannot serve them for now. It returns soon: a device that has to wait for
	// another than the host's files returns, and has somebody call Wake. After a number of requests Next returns none, and
	// Notify is called anew when other queues had their turn.
	Notify(queue int)
	// Reset ends the session, after the last Notify. From its return on the device touches neither queues nor chains,
	// whose memory may be gone.
	Reset()

	// Save adds to a state what the device remembers of its driver and of its session, if there is one: at rest, between two calls
	// of Notify. Of one that is broken requests in flight do not count.
	Save(s *State)
	// Restore has the device remember what another one has saved, outside of a session, and trusts none of it. With queues it
	// begins a session as Activate does, in which requests are in flight; without, queues is nil. After an error in a session Reset is called.
	Restore(features uint64, queues []*Queue, s *State) error

	// Close gives back what the device holds of the host. It is the last call, not within a session.
	Close() error
}

// readConfig is ReadConfig of a device whose configuration is these bytes.
func readConfig(config []byte, offset uint64, data []byte) {
	if offset < uint64(len(config)) {
		copy(data, config[offset:])
	}
}
