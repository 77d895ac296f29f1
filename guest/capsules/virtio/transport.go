package virtio

import (
	"kapsel/guest/abi"
	"kapsel/guest/abi/virtio"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/mmio"
)

// Place is where a device is, and what the board gives to its driver.
type Place struct {
	_         [0]func() // not comparable: no function is made for it
	Registers mmio.Device[MMIO]
	Base      uint64 // their physical address, for messages
	Memory    dma.Region
	Log       kernel.Writer // is told of a device that breaks the protocol
	Alarm     hil.Alarm     // of the device's own, by which one is found that does not answer
}

// Driver drives a device of one kind by a Transport. It is called from interrupts, deferred calls and alarms alone, never
// from within a call of its own; but Broken comes from within the calls that set the device up, too.
type Driver interface {
	// Used hands back a chain that the device of the queue has done, with all its buffers, and says how many bytes the
	// device wrote: no more than it may.
	Used(q *Queue, head uint16, written uint32)
	// ConfigChanged says that the device's configuration is another.
	ConfigChanged()
	// Broken says that the device is not used any more: no chain comes back, every Add is refused. It is called once.
	Broken()
}

// Transport is one device.
type Transport struct {
	place    Place
	name     string
	driver   Driver
	deferred kernel.DeferredCall
	state    state
	features uint64
	first    *Queue // of those that were set up; each names the next
	last     *Queue
	atOnce   *Queue // of which a chain was used while the device was told of it
	left     bool   // chains of any queue are to be handed back
	watched  bool   // the alarm is set
	round    uint32
}

// state is how far a device has come.
type state uint8

const (
	absent state = iota
	starting
	ready
	broken
)

const (
	maxPolls      = 4096 // of a status that is to change
	maxConfigRuns = 16   // reads of a configuration that changes
	maxServed     = 16   // chains of a queue for an interrupt or a deferred call
)

// Init ties the transport to a device that the board found, and to its driver. name says of what kind it is. alarmed is the driver, too: it hands
// the device's alarm on to the transport's AlarmFired, so that what fails there is the driver, and not the alarms.
func (t *Transport) Init(k *kernel.Kernel, place Place, name string, driver Driver, alarmed hil.AlarmClient) {
	t.place, t.name, t.driver = place, name, driver
	t.deferred.Register(k, t)
	if place.Alarm != nil {
		place.Alarm.SetAlarmClient(alarmed)
	}
}

// Start resets the device, which has to be of the kind id, and agrees with it on those of the features wanted that it offers
// (3.1.1). Features of queues the transport chooses. Then the driver reads the configuration, sets queues up by Queue.Init,
// gives them buffers, and calls Ready. It returns abi.FAIL if the device is broken.
func (t *Transport) Start(id uint32, wanted uint64) abi.ErrorCode {
	r := &t.place.Registers
	t.state = starting
	if is, problem := Probe(r); problem != "" {
		return t.giveUp(problem)
	} else if is != id {
		return t.giveUp("it is of another kind")
	}
	if !t.reset() {
		return t.giveUp("its reset does not end")
	}
	const known = virtio.StatusAcknowledge | virtio.StatusDriver
	regStatus.Write(r, virtio.StatusAcknowledge)
	regStatus.Write(r, known)
	t.features = t.offered() & (wanted | virtio.FeatureVersion1 | virtio.FeatureEventIndex)
	if !t.Has(virtio.FeatureVersion1) {
		return t.giveUp("it does not offer VERSION_1")
	}
	regDriverSelect.Write(r, 0)
	regDriverFeatures.Write(r, uint32(t.features))
	regDriverSelect.Write(r, 1)
	regDriverFeatures.Write(r, uint32(t.features>>32))
	regStatus.Write(r, known|virtio.StatusFeaturesOK)
	if regStatus.Read(r)&virtio.StatusFeaturesOK == 0 {
		return t.giveUp("it refuses the features that it offers")
	}
	return abi.OK
}

// offered is the device's features.
func (t *Transport) offered() uint64 {
	r := &t.place.Registers
	regDeviceSelect.Write(r, 0)
	low := regDeviceFeatures.Read(r)
	regDeviceSelect.Write(r, 1)
	return uint64(regDeviceFeatures.Read(r))<<32 | uint64(low)
}

// Has reports whether driver and device agreed on a feature.
func (t *Transport) Has(feature uint64) bool { return t.features&feature != 0 }

// Ready says that the driver is ready. The device gets what the queues hold already. It returns abi.FAIL if the device is
// broken.
func (t *Transport) Ready() abi.ErrorCode {
	if t.state != starting {
		return abi.FAIL
	}
	const all = virtio.StatusAcknowledge | virtio.StatusDriver | virtio.StatusFeaturesOK | virtio.StatusDriverOK
	regStatus.Write(&t.place.Registers, all)
	if regStatus.Read(&t.place.Registers) != all {
		return t.giveUp("it does not become ready")
	}
	t.state = ready
	for q := t.first; q != nil; q = q.next {
		if q.inFlight != 0 {
			regQueueNotify.Write(&t.place.Registers, uint32(q.index))
		}
	}
	return abi.OK
}

// Works reports whether the device is ready and has not broken the protocol.
func (t *Transport) Works() bool { return t.state == ready }

// ReadConfig fills p with the configuration's bytes from an offset on, by accesses of the width of the field that lies there:
// 1, 2 or 4 bytes. They are all of one time (4.2.2.2). It returns abi.FAIL if the device is broken: one whose configuration
// does not stand still is.
func (t *Transport) ReadConfig(p []byte, offset uint16, width int) abi.ErrorCode {
	r := &t.place.Registers
	for range maxConfigRuns {
		if t.state == broken {
			return abi.FAIL
		}
		generation := regConfigGeneration.Read(r)
		for i := 0; i+width <= len(p); i += width {
			t.readConfig(p[i:i+width], virtio.RegConfig+offset+uint16(i))
		}
		if regConfigGeneration.Read(r) == generation {
			return abi.OK
		}
	}
	return t.giveUp("its configuration does not stand still")
}

// readConfig reads one field of len(p) bytes.
func (t *Transport) readConfig(p []byte, at uint16) {
	r := &t.place.Registers
	v := uint32(0)
	switch len(p) {
	case 1:
		v = uint32(mmio.ReadOnly[MMIO, uint8](at).Read(r))
	case 2:
		v = uint32(mmio.ReadOnly[MMIO, uint16](at).Read(r))
	default:
		v = mmio.ReadOnly[MMIO, uint32](at).Read(r)
	}
	for i := range p {
		p[i] = byte(v >> (8 * i))
	}
}

// HandleInterrupt serves the device's interrupt. It acknowledges first that chains were used: for one that is used behind that the
// device interrupts again. Only where the rings do not tell why the device interrupts is its status read, which in a virtual
// machine is an exit. Whether its configuration changed besides is looked at by the alarm.
func (t *Transport) HandleInterrupt() {
	if t.state != ready {
		return
	}
	t.acknowledge()
	if t.serve() {
		t.watch()
	} else {
		t.serveConfig()
	}
}

// acknowledge acknowledges that chains were used.
func (t *Transport) acknowledge() {
	regInterruptACK.Write(&t.place.Registers, virtio.InterruptUsed)
}

// serveConfig looks whether the configuration changed. Then the alarm looks at the rings: a device whose line stayed up
// meanwhile does not interrupt for them.
func (t *Transport) serveConfig() {
	r := &t.place.Registers
	if t.state != ready || regInterruptStatus.Read(r)&virtio.InterruptConfig == 0 {
		return
	}
	regInterruptACK.Write(r, virtio.InterruptConfig)
	if regStatus.Read(r)&virtio.StatusNeedsReset != 0 {
		t.Break("it says that it needs a reset")
		return
	}
	t.watch()
	t.driver.ConfigChanged()
}

// HandleDeferredCall implements kernel.DeferredClient. The kernel knows whose it is: the component's that was being wired at Init.
func (t *Transport) HandleDeferredCall() {
	q := t.atOnce
	t.atOnce = nil
	if q != nil && q.inFlight != 0 && t.state == ready {
		t.left = q.serve() == maxServed || t.left // alone: of others an interrupt tells
	}
	if (t.left || q == nil) && t.state == ready {
		t.left = false
		t.serve()
	}
}

// serve hands chains back that the device has used, a few of each queue: for more it sets the deferred call. It reports whether
// there were any.
func (t *Transport) serve() bool {
	served := 0
	for q := t.first; q != nil; q = q.next {
		if q.inFlight == 0 || q.quiet {
			continue // the device has nothing to say of it, or nobody waits for that
		}
		if q.silent() {
			continue
		}
		n := q.serve()
		served += n
		if t.state != ready {
			break
		}
		if n == maxServed {
			t.left = true
			t.deferred.Set()
		}
	}
	return served != 0
}

// Break ends the use of a device that broke the protocol, which a driver calls for its kind's part of it: from interrupts,
// deferred calls and alarms alone. Later calls do nothing. A device that does not even confirm its reset may still write: its
// buffers stay lent.
func (t *Transport) Break(why string) {
	if t.state == broken {
		return
	}
	t.state = broken
	if t.reset() {
		regStatus.Write(&t.place.Registers, virtio.StatusFailed)
		for q := t.first; q != nil; q = q.next {
			q.reclaim()
		}
	}
	w := t.place.Log
	w.WriteString(t.name)
	format.Print(w, " at 0x%x is broken, and not used any more: ", t.place.Base)
	w.WriteString(why)
	w.WriteString("\n")
	t.driver.Broken()
}

// giveUp is Break, as an answer.
func (t *Transport) giveUp(why string) abi.ErrorCode {
	t.Break(why)
	return abi.FAIL
}

// reset resets the device, and reports whether it says that it has done so (4.2.3.1).
func (t *Transport) reset() bool {
	r := &t.place.Registers
	regStatus.Write(r, 0)
	for range maxPolls {
		if regStatus.Read(r) == 0 {
			return true
		}
	}
	return false
}
