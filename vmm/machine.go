package vmm

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"kapsel/guest/abi"
	"kapsel/vmm/device"
	"kapsel/vmm/disk"
	"kapsel/vmm/image"
	"kapsel/vmm/kvm"
	"kapsel/vmm/linux"
	"kapsel/vmm/snapshot"
	"kapsel/vmm/virtio"
)

// Machine is a virtual machine with one processor.
type Machine struct {
	config Config
	memory *memory
	vm     *kvm.VM
	thread *thread

	kick sync.Mutex // held while the processor is kicked or goes away
	cpu  *kvm.VCPU

	exit    device.DebugExit
	power   device.Power // Linux's
	bench   *benchmark   // nil without Config.Mark
	serial  *device.Serial
	console *console
	cmos    *device.CMOS
	ioapic  *device.IOAPIC
	ports   []portRange
	mmio    []mmioRange
	places  []*place // of virtio devices

	terminal   *virtio.Console // nil without a console device
	overlays   []*disk.Overlay // of private disks
	streams    []*stream       // of named ports
	flushPorts func()          // nil without ports
	routes     []kvm.MSI       // of the I/O APIC's pins; guarded by the I/O APIC's lock

	watch   watcher
	stats   stats
	history history
	strange strangers
	loaded  uint64 // bytes written into memory by New

	cpuid        []kvm.CPUIDEntry // the guest's
	smm          bool             // it has system management mode
	guest        snapshot.Guest
	noSnapshot   error // why the machine has none
	outsideEnded bool  // what is outside of the machine has ended with the guest; as running

	wants   wants
	running atomic.Bool // Run is under way
	ended   atomic.Bool // the guest goes on no more
	begun   bool        // the console's goroutines were started; the thread's, as the following
	inLoop  bool        // the guest runs, or an exit of its is being served
	half    bool        // the last exit's access is to be finished
	poison  error       // why ended is set, if no end of the guest's is the cause

	closing  sync.Once
	closeErr error
}

// FlushTime is how long a machine that was told to end waits for its console to take what
// the guest had sent before. After it a Write that has not returned is abandoned: its
// goroutine ends when it does, and no other follows.
const FlushTime = 250 * time.Millisecond

// New makes a machine with the image loaded, ready to run. Close it after use. If ctx
// ends meanwhile the error is its cause.
func New(ctx context.Context, c Config) (*Machine, error) {
	c, err := c.WithDefaults()
	if err != nil {
		return nil, err
	}
	return assemble(ctx, c, func() (*memory, error) { return newMemory(c.Memory, c.SmallPages) }, (*Machine).boot)
}

// assemble makes a machine with the memory, and has fill put a guest into it, on the machine's thread.
func assemble(ctx context.Context, c Config, memory func() (*memory, error), fill func(*Machine) error) (_ *Machine, err error) {
	m := &Machine{config: c, thread: newThread()}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	host, err := kvm.Open(c.KVM)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	if err := checkCapabilities(host); err != nil {
		return nil, err
	}
	m.noSnapshot = m.whyNoSnapshot(host)
	if m.memory, err = memory(); err != nil {
		return nil, err
	}
	if err := m.createVM(host); err != nil {
		return nil, err
	}
	m.addDevices()
	if err := m.openDevices(host); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil { // before the image is copied
		return nil, err
	}
	m.thread.do(func() {
		if err = m.createCPU(host); err == nil {
			err = fill(m)
		}
		if err == nil {
			m.openBenchmark(host)
		}
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// createVM makes the VM with its memory and without devices. The MSR filter comes first: KVM waits for a grace period of SRCU with it (kvm_vm_ioctl_set_msr_filter in
// linux/arch/x86/kvm/x86.c), which takes several timer ticks within 25 us of the one before (srcu_might_be_idle in linux/kernel/rcu/srcutree.c), as of a memory slot. Memory comes before
// the interrupt controller: adding a slot later costs much more.
func (m *Machine) createVM(host *kvm.Device) (err error) {
	if m.vm, err = host.CreateVM(); err != nil {
		return err
	}
	if m.config.Linux == nil {
		if err := m.filterMSRs(host); err != nil {
			return err
		}
	}
	if err := m.memory.attach(m.vm, false); err != nil {
		return err
	}
	if m.config.Linux != nil {
		if err := m.vm.SetTSSAddress(tssAddress); err != nil {
			return err
		}
	}
	return m.vm.SplitIRQChip(device.Pins)
}

// createCPU makes the processor, on the machine's thread.
func (m *Machine) createCPU(host *kvm.Device) (err error) {
	if m.cpu, err = m.vm.CreateVCPU(0); err != nil {
		return err
	}
	supported, err := host.SupportedCPUID()
	if err != nil {
		return err
	}
	deadline, err := host.Extension(kvm.CapTSCDeadlineTimer)
	if err != nil {
		return err
	}
	smm, err := host.Extension(kvm.CapSMM)
	if err != nil {
		return err
	}
	m.cpuid, m.smm = guestCPUID(supported, deadline > 0), smm > 0
	if err := m.cpu.SetCPUID(m.cpuid); err != nil {
		return err
	}
	if err := m.tellCapabilities(host, m.cpuid); err != nil {
		return err
	}
	m.describe()
	return m.setBreakpoints()
}

// boot puts the processor before the guest's first instruction.
func (m *Machine) boot() error {
	entry, err := m.place()
	if err != nil {
		return err
	}
	m.prepareWatch()
	return enterLongMode(m.cpu, entry)
}

// place lays the guest out in memory.
func (m *Machine) place() (entry, error) {
	if m.config.Linux != nil {
		return m.placeLinux()
	}
	e, err := m.config.Image.Place(m.memory.low, image.Params{
		RAMHigh: uint64(len(m.memory.high)),
		Cmdline: DeviceWords(len(m.config.Devices)) + m.config.Cmdline,
		Modules: m.config.GuestModules(),
		TSCHz:   m.tscHz(),
		LAPICHz: lapicHz,
	})
	m.loaded = e.Written
	return entry{rip: e.RIP, cr3: e.CR3, rdi: e.RDI, code: 0x08, data: 0x10}, err
}

// setBreakpoints leaves a machine without breakpoints as KVM made it, so that debug
// exceptions go straight to the guest.
func (m *Machine) setBreakpoints() error {
	if len(m.config.Breakpoints) == 0 {
		return nil
	}
	return m.cpu.SetBreakpoints(m.config.Breakpoints)
}

// tscHz returns the guest's TSC frequency, or 0, so that the guest measures it, if KVM
// does not know: the host's counter is not stable.
func (m *Machine) tscHz() uint64 {
	khz, err := m.cpu.TSCKHz()
	if err != nil {
		m.config.Log("the TSC frequency is unknown: %v", err)
		return 0
	}
	return uint64(khz) * 1000
}

func (m *Machine) addDevices() {
	m.routes = make([]kvm.MSI, device.Pins)
	m.ioapic = device.NewIOAPIC(m.sendInterrupt, m.routeInterrupt)
	m.console = &console{w: m.config.Console, log: m.config.Log}
	var inStep io.Writer
	if m.config.ConsoleInStep {
		inStep = m.console
	}
	m.serial = device.NewSerial(inStep, func(level bool) { m.ioapic.SetLine(abi.IRQCOM1, level) })
	m.cmos = device.NewCMOS(time.Now)
	m.ports = []portRange{
		{abi.PortCOM1, 8, m.serial},
		{abi.PortDebugExit, 4, &m.exit},
		{abi.PortCMOS, device.CMOSSize, m.cmos},
	}
	m.mmio = []mmioRange{
		{abi.IOAPICBase, device.IOAPICSize, m.ioapic},
	}
	if m.config.Linux != nil {
		m.ports = append(m.ports, portRange{linux.PortPower, device.PowerSize, &m.power})
	}
	if m.config.Mark != nil {
		m.addBenchmark()
	}
}

// sendInterrupt delivers a message of the I/O APIC. That no local APIC takes it is the
// guest's affair.
func (m *Machine) sendInterrupt(message device.MSI) {
	msi := kvmMessage(message)
	if _, err := m.vm.Signal(&msi); err != nil {
		m.config.Log("an interrupt was lost: %v", err)
	}
}

// routeInterrupt makes KVM report the end of a level-triggered pin's interrupts.
func (m *Machine) routeInterrupt(pin int, message device.MSI) {
	m.routes[pin] = kvmMessage(message)
	if err := m.vm.SetRoutes(m.routes); err != nil {
		m.config.Log("interrupts of I/O APIC pin %d will stall: %v", pin, err)
	}
}

func kvmMessage(m device.MSI) kvm.MSI {
	return kvm.MSI{AddressLow: uint32(m.Address), AddressHigh: uint32(m.Address >> 32), Data: m.Data}
}

// Close stops the machine and gives everything back. It waits for Do. Calling it again does nothing but
// return the same error.
func (m *Machine) Close() error {
	m.closing.Do(func() { m.closeErr = m.close() })
	return m.closeErr
}

func (m *Machine) close() error {
	var errs []error
	errs = append(errs, m.cancel())
	m.thread.do(func() { errs = append(errs, m.closeCPU()) }) // waits for Run's end
	m.thread.close()
	m.closeStreams()                      // no device waits for them
	errs = append(errs, m.closeDevices()) // before the VM and the memory that they use
	if m.serial != nil {
		m.serial.Drain()
		m.serial.Close()
	}
	if m.vm != nil {
		errs = append(errs, m.vm.Close())
	}
	if m.memory != nil {
		errs = append(errs, m.memory.close())
	}
	return errors.Join(errs...)
}

// closeCPU makes the processor go away, on the machine's thread.
func (m *Machine) closeCPU() error {
	m.kick.Lock()
	defer m.kick.Unlock()
	if m.cpu == nil {
		return nil
	}
	err := errors.Join(m.bench.close(), m.cpu.Close())
	m.cpu = nil
	return err
}

// writeConsole writes what the guest sends until the machine ends.
func (m *Machine) writeConsole() {
	for sent, ok := m.serial.Take(nil); ok; sent, ok = m.serial.Take(sent) {
		m.console.Write(sent)
	}
}

// console passes the UART's output on until it fails for the first time.
type console struct {
	w      io.Writer
	log    func(format string, args ...any)
	failed bool
}

func (c *console) Write(p []byte) (int, error) {
	if c.failed {
		return len(p), nil
	}
	n, err := c.w.Write(p)
	if err != nil {
		c.failed = true
		c.log("the console is lost: %v", err)
	}
	return n, err
}
