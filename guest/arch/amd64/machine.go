package amd64

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// Machine is the machine the kernel was booted on. There is one; Boot returns it.
type Machine struct {
	CPU     CPU
	Timer   Timer
	TaskRAM kernel.RAM // memory that nobody has yet

	boot     bootParameters
	features features
	apic     localAPIC
	kernel   addressSpace
}

var machine Machine

// Boot takes the machine over from the monitor: final page tables, descriptors, system
// calls, interrupts, time. It is called once, first. A machine that cannot be used ends
// here with a message and status abi.ExitBadBoot.
func Boot() *Machine {
	m := &machine
	if problem := m.boot.read(); problem != "" {
		refuse(problem)
	}
	m.features = readFeatures(cpuid)
	m.enterKernelSpace()
	loadDescriptors()
	if doorPVH != 0 { // behind the other door there is no firmware, nor an 8259
		mask8259()
	}
	m.apic.enable(m.features.x2apic)
	m.startTimer()
	m.CPU.init(m)
	return m
}

// HasCRC32 reports whether the processor has the instruction CRC32 (SDM vol. 2, CPUID leaf 1, ECX: SSE4.2).
func (m *Machine) HasCRC32() bool {
	_, _, c, _ := cpuid(1, 0)
	return bit(c, 20)
}

func refuse(problem string) {
	serial.WriteString("kapsel: cannot boot: ")
	serial.WriteString(problem)
	serial.WriteString("\n")
	Exit(abi.ExitBadBoot)
}

// enterKernelSpace builds the kernel's page tables and switches to them, with every
// protection that the CPU has. What memory they leave is for tasks, reached by the direct map.
func (m *Machine) enterKernelSpace() {
	free := m.boot.free
	m.TaskRAM.Low = bytesAt(free.start, free.size())
	m.kernel.ram, m.kernel.huge = &m.TaskRAM, m.features.gigabytePages
	root, ok := m.kernel.takeFrame()
	m.kernel.root = root
	guard := abi.PageUp(addressOf(&stack[0]))
	if !ok || !buildKernelSpace(&m.kernel, &image, m.boot.image.start, guard, m.boot.ram, m.boot.high) {
		refuse("not enough memory for the kernel's page tables")
	}
	writeCR0(cr0)
	wrmsr(msrEFER, efer)
	writeCR3(root)
	writeCR4(m.features.cr4())
	window = abi.DirectMap

	left := uint64(len(m.TaskRAM.Low))
	m.TaskRAM.Low = bytesAt(free.end-left, left)
	m.TaskRAM.High = bytesAt(m.boot.high.start, m.boot.high.size())
}

// startTimer finds out how fast the clocks run: from the monitor, from CPUID, from KVM. Where
// nobody says how fast the time-stamp counter is, as in QEMU's emulator, it is measured against
// the local APIC's timer while the kernel goes on booting.
func (m *Machine) startTimer() {
	hz := m.boot.tscHz
	if hz == 0 {
		hz = uint64(m.features.tscKHz) * 1000
	}
	if hz == 0 && m.features.kvmClock {
		hz = kvmClockHz()
	}
	lapicHz := m.boot.lapicHz
	if lapicHz == 0 {
		lapicHz = hypervisorAPICHz
	}
	m.Timer = Timer{apic: &m.apic, deadline: m.features.tscDeadline, hz: lapicHz}
	if hz == 0 {
		m.Timer.startMeasuring()
		return
	}
	m.Timer.start(hz)
}

// hypervisorAPICHz is the frequency of the local APIC's timer in KVM (APIC_BUS_CYCLE_NS is
// 1) and in QEMU: a count is a nanosecond.
const hypervisorAPICHz = 1_000_000_000

// ImageTasks is the memory that holds the image's task objects.
func (m *Machine) ImageTasks() []byte {
	return bytesAt(m.boot.physical(image.Tasks), abi.PageUp(image.TasksEnd)-image.Tasks)
}

// Image is how the kernel's image is laid out.
func (m *Machine) Image() abi.ImageInfo { return image }

// ModuleTasks is the memory that holds the task objects that the monitor added.
func (m *Machine) ModuleTasks() []byte {
	return bytesAt(m.boot.modules.start, m.boot.modules.size())
}

// Cmdline is the monitor's command line.
func (m *Machine) Cmdline() []byte { return m.boot.cmdline[:m.boot.cmdlineSize] }

// RAM is the size of memory in bytes.
func (m *Machine) RAM() uint64 { return m.boot.ram + m.boot.high.size() }

// Accelerator names what runs the machine.
func (m *Machine) Accelerator() string { return m.features.accelerator() }

// EntryTicks is what the time-stamp counter was at the kernel's first instruction.
func (m *Machine) EntryTicks() uint64 { return bootTSC }

// MapDevice makes a page of device registers at a physical address accessible, and returns its
// virtual address. It panics if that is not a page of the hole between the two halves of RAM,
// or no memory for page tables is left. It is called once for each page, before tasks are loaded.
func (m *Machine) MapDevice(physical uint64) uintptr {
	if physical%pageSize != 0 || physical < abi.MMIOHole || physical >= abi.MMIOHoleEnd ||
		!m.kernel.mapRange(abi.DirectMap+physical, physical, pageSize, deviceRW) {
		panic("the device's page cannot be mapped")
	}
	return uintptr(abi.DirectMap + physical)
}

// DeviceMemory takes so many bytes, whole pages, of the memory that nobody has yet, for devices to read and write: in one
// piece, with whatever is in it. It returns them and their physical address, or nil if there is no such piece. Another size is a board's mistake, and a
// panic: page tables that are taken later would not begin on a page.
func (m *Machine) DeviceMemory(size uint64) (memory []byte, physical uint64) {
	if size%pageSize != 0 {
		panic("device memory comes in whole pages")
	}
	memory = m.TaskRAM.Take(size)
	if memory == nil {
		return nil, 0
	}
	return memory, physicalOf(memory)
}

// Ticks is the time-stamp counter. It may be read before Boot.
func Ticks() uint64 { return rdtsc() }

// Route sends a device's pin at the I/O APIC, edge-triggered, to the interrupt line of the
// same number.
func (m *Machine) Route(pin uint32) { m.apic.route(pin) }

// Unroute keeps a device's pin from interrupting.
func (m *Machine) Unroute(pin uint32) { m.apic.unroute(pin) }

// Serial is the polled serial line.
func (m *Machine) Serial() *Serial { return serial }
