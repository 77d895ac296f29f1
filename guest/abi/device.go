package abi

// Places of virtio devices that the monitor makes: place i has a page of registers from VirtioBase + i*PageSize on, and
// the line VirtioIRQ + i at the I/O APIC, edge-triggered. The kernel does not count on them: it takes what the command line
// says, in words of the form virtio_mmio.device=<size>@<base>:<irq>[:<id>], which Linux knows, too.
const (
	VirtioBase   = 0xd000_0000
	VirtioIRQ    = 5
	VirtioPlaces = 8
)

// VirtioWord begins a word of the command line that tells of a device.
const VirtioWord = "virtio_mmio.device="

// Limits of named ports, which monitor and kernel share: how many, and how long a name is, in bytes.
const (
	MaxPorts    = 8
	MaxPortName = 31
)

// Names of the ports on which the kernel has a device each.
const (
	PortADC    = "adc"
	PortDAC    = "dac"
	PortBuzzer = "buzzer"
	PortScreen = "screen"
)
