package hostile

import (
	"slices"

	"kapsel/guest/abi/virtio"
)

// Script is a way to attack.
type Script struct {
	Name  string
	Steps []Step
}

// Scripts are one or more for each kind of fault that drivers and devices elsewhere had.
var Scripts = []Script{
	{"nothing wrong", script(descriptor(0, 0, BufferSize, virtio.DescWrite, 0), offer(0, 0), used(0, 0, 1), index(1), notify, serve)},

	// Registers.
	{"queue of no size", setUp(register(virtio.RegQueueSize, 0))},
	{"queue size not a power of two", setUp(register(virtio.RegQueueSize, 3), register(virtio.RegQueueSizeMax, 3))},
	{"queue size beyond the largest", setUp(register(virtio.RegQueueSize, 65535), register(virtio.RegQueueSizeMax, 65535))},
	{"no such queue", script(register(virtio.RegQueueSel, 0xffff_ffff), register(virtio.RegQueueSize, 8), register(virtio.RegQueueReady, 1),
		register(virtio.RegQueueNotify, 0xffff_ffff), notify, serve)},
	{"queue at the end of the address space", setUp(register(virtio.RegQueueDescLow, 0xffff_fff0), register(virtio.RegQueueDescHigh, 0xffff_ffff))},
	{"queue not aligned", setUp(register(virtio.RegQueueDescLow, 8), register(virtio.RegQueueDriverLow, 1), register(virtio.RegQueueDeviceLow, 2))},
	{"queue in the hole of devices", setUp(register(virtio.RegQueueDeviceLow, 0xd000_0000))},
	{"size changed while live", script(register(virtio.RegQueueSize, 32768), register(virtio.RegQueueDescLow, 0), index(1), notify, serve)},
	{"features changed while live", script(register(virtio.RegDriverFeatures, 0xffff_ffff), register(virtio.RegDeviceFeatures, 0), index(1), notify, serve)},
	{"status bits cleared", script(register(virtio.RegStatus, virtio.StatusDriverOK), serve, register(virtio.RegStatus, 0xff), serve)},
	{"needs reset", script(register(virtio.RegStatus, virtio.StatusNeedsReset), interrupt(virtio.InterruptConfig), serve)},
	{"reset in the middle", script(descriptor(0, 0, BufferSize, 0, 0), offer(0, 0), index(1), notify, reset, serve, index(1), notify, serve)},
	{"reset storm", script(reset, reset, serve, reset, serve)},
	{"another kind of device", script(register(virtio.RegDeviceID, 0), register(virtio.RegMagic, 0), register(virtio.RegVersion, 1), reset, serve)},
	{"version 1 not offered", script(register(virtio.RegDeviceFeatures, 0), reset, serve)},
	{"torn configuration", script(register(virtio.RegConfigGeneration, 1), register(virtio.RegConfig, 0xffff_ffff), register(virtio.RegConfig+4, 0xffff_ffff),
		interrupt(virtio.InterruptConfig), serve)},
	{"no capacity", script(register(virtio.RegConfig, 0), register(virtio.RegConfig+4, 0), interrupt(virtio.InterruptConfig), reset, serve)},
	{"interrupt without a cause", script(interrupt(0), serve, interrupt(0xffff_fffc), serve)},

	// Rings.
	{"index jumps", script(index(QueueSize+1), notify, serve)},
	{"index goes back", script(index(1), notify, serve, index(0xffff), notify, serve)},
	{"index wraps", script(index(0xffff), notify, serve, index(2), notify, serve)},
	{"head beyond the queue", script(offer(0, QueueSize), used(0, QueueSize, 1), index(1), notify, serve)},
	{"head far beyond", script(offer(0, 0xffff), used(0, 0xffff_ffff, 1), index(1), notify, serve)},
	{"the same head twice", script(descriptor(0, 0, BufferSize, virtio.DescWrite, 0), offer(0, 0), offer(1, 0), used(0, 0, 1), used(1, 0, 1), index(2), notify, serve)},
	{"not in flight", script(used(0, QueueSize-1, 1), index(1), notify, serve)},
	{"length overstated", script(used(0, 0, BufferSize+1), index(1), notify, serve, used(1, 1, 0xffff_ffff), index(2), notify, serve)},
	{"length of nothing", script(used(0, 0, 0), index(1), notify, serve)},
	{"event far away", script(write(Available, uint16(virtio.UsedEvent(QueueSize)), 2, 0x8000), write(Used, uint16(virtio.AvailableEvent(QueueSize)), 2, 0x8000), index(1), notify, serve)},
	{"no notifications", script(write(Available, virtio.RingFlags, 2, virtio.RingNoNotify), write(Used, virtio.RingFlags, 2, virtio.RingNoNotify), index(1), notify, serve)},

	// Descriptors.
	{"chain loops", script(descriptor(0, 0, 16, virtio.DescNext, 1), descriptor(1, 16, 16, virtio.DescNext, 0), offer(0, 0), index(1), notify, serve)},
	{"next beyond the queue", script(descriptor(0, 0, 16, virtio.DescNext, QueueSize), offer(0, 0), index(1), notify, serve)},
	{"buffer of no length", script(descriptor(0, 0, 0, 0, 0), offer(0, 0), index(1), notify, serve)},
	{"buffer of 4 GiB", script(descriptor(0, 0, 0xffff_ffff, virtio.DescNext, 1), descriptor(1, 0, 0xffff_ffff, virtio.DescWrite, 0), offer(0, 0), index(1), notify, serve)},
	{"buffer wraps", script(write(Descriptors, 0, 8, ^uint64(0)-8), write(Descriptors, 8, 4, 16), offer(0, 0), index(1), notify, serve)},
	{"buffer outside memory", script(write(Descriptors, 0, 8, 1<<40), write(Descriptors, 8, 4, 16), offer(0, 0), index(1), notify, serve)},
	{"buffer in the registers", script(write(Descriptors, 0, 8, 0xd000_0000), write(Descriptors, 8, 4, 16), offer(0, 0), index(1), notify, serve)},
	{"indirect", script(descriptor(0, 0, 16, virtio.DescIndirect, 0), offer(0, 0), index(1), notify, serve)},
	{"indirect, with a next, of no whole number", script(descriptor(0, 0, 17, virtio.DescIndirect|virtio.DescNext, 1), offer(0, 0), index(1), notify, serve)},
	{"readable behind writable", script(descriptor(0, 0, 16, virtio.DescWrite|virtio.DescNext, 1), descriptor(1, 16, 16, 0, 0), offer(0, 0), index(1), notify, serve)},
	{"descriptors rewritten", script(notify, serve, write(Descriptors, 0, 8, ^uint64(0)), write(Descriptors, 12, 4, 0xffff_ffff), used(0, 0, 1), index(1), notify, serve)},
	{"nothing to write to", script(descriptor(0, 0, 64, 0, 0), offer(0, 0), index(1), notify, serve)},
	{"nothing to read", script(descriptor(0, 0, 64, virtio.DescWrite, 0), offer(0, 0), index(1), notify, serve)},

	// Requests.
	{"unknown request", script(write(Buffers, 0, 4, 0x7fff_ffff), request, write(Buffers, BufferSize-1, 1, 77), used(0, 0, 1), index(1), notify, serve)},
	{"status of no meaning", script(write(Buffers, 16, 1, 3), write(Buffers, BufferSize-1, 1, 255), used(0, 0, 1), index(1), notify, serve)},
	{"sector overflows", script(write(Buffers, 0, 4, virtio.BlockOut), write(Buffers, 8, 8, ^uint64(0)), request, index(1), notify, serve)},
	{"sector beyond the end", script(write(Buffers, 0, 4, virtio.BlockIn), write(Buffers, 8, 8, 1<<40), request, index(1), notify, serve)},
	{"discard of everything", script(write(Buffers, 0, 4, virtio.BlockDiscard), write(Buffers, 16, 8, ^uint64(0)-1), write(Buffers, 24, 4, 0xffff_ffff), request, index(1), notify, serve)},
	{"frame of a header alone", script(descriptor(0, 0, virtio.NetHeaderSize, 0, 0), offer(0, 0), used(0, 0, virtio.NetHeaderSize), index(1), notify, serve)},
	{"frame shorter than its header", script(descriptor(0, 0, 5, 0, 0), offer(0, 0), used(0, 0, 5), index(1), notify, serve)},
	{"frame with offloads", script(write(Buffers, 0, 8, ^uint64(0)), write(Buffers, 8, 4, 0xffff_ffff), descriptor(0, 0, 128, 0, 0), offer(0, 0), used(0, 0, 128), index(1), notify, serve)},
	{"frame of 65562 bytes", script(descriptor(0, 0, 65562, 0, 0), offer(0, 0), used(0, 0, 65562), index(1), notify, serve)},
}

// The steps that most scripts have. request offers descriptor 0, where whoever runs the script has a request of the device's kind.
var (
	notify  = []Step{{Act: Notify, Value: virtio.InterruptUsed}}
	serve   = []Step{{Act: Serve}}
	reset   = []Step{{Act: Reset}}
	request = offer(0, 0)
)

// script puts steps one after another.
func script(parts ...[]Step) []Step { return slices.Concat(parts...) }

// setUp is a reset, registers that are not as they should be, and an attempt to go on.
func setUp(registers ...[]Step) []Step {
	return script(reset, script(registers...), register(virtio.RegQueueReady, 1), register(virtio.RegStatus, 15), notify, serve)
}

func register(offset uint16, value uint64) []Step {
	return []Step{{Act: Register, Offset: offset, Value: value}}
}

func interrupt(status uint64) []Step { return []Step{{Act: Notify, Value: status}} }

// index makes so many more elements of the peer's ring visible.
func index(n uint64) []Step { return []Step{{Act: Use, Value: n}} }

func write(a Area, offset uint16, width uint8, value uint64) []Step {
	return []Step{{Act: Write, Area: a, Width: width, Offset: offset, Value: value}}
}

// descriptor is descriptor n, of length bytes from at on in Buffers.
func descriptor(n uint16, at, length, flags, next uint64) []Step {
	base := n * virtio.DescriptorSize
	return script(
		[]Step{{Act: Point, Area: Descriptors, Offset: base, Value: at}},
		write(Descriptors, base+8, 4, length),
		write(Descriptors, base+12, 2, flags),
		write(Descriptors, base+14, 2, next),
	)
}

// offer is element n of the available ring.
func offer(n uint16, head uint64) []Step {
	return write(Available, virtio.RingElements+2*n, 2, head)
}

// used is element n of the used ring.
func used(n uint16, id, length uint64) []Step {
	base := virtio.RingElements + virtio.UsedSize*n
	return script(write(Used, base, 4, id), write(Used, base+4, 4, length))
}
