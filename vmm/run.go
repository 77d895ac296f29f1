package vmm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kapsel/guest/abi"
	"kapsel/vmm/device"
	"kapsel/vmm/kvm"
)

// portRange is a device at the I/O ports [base, base+size).
type portRange struct {
	base, size uint16
	device     device.Ports
}

// mmioRange is a device at the physical addresses [base, base+size).
type mmioRange struct {
	base, size uint64
	device     device.MMIO
}

// Run runs the machine until the guest ends, the context does, KVM fails, or somebody calls Pause, and says
// which. The error is nil unless Exit.Reason is Failed. After Paused it may be called again.
//
// What the guest has printed is written before Run returns. A console that does not take it
// holds Run, but from the end of the context on for FlushTime at most: then the machine was
// cancelled, even if the guest had ended.
func (m *Machine) Run(ctx context.Context) (exit Exit, err error) {
	if !m.running.CompareAndSwap(false, true) {
		return Exit{Reason: Failed}, errors.New("this machine runs")
	}
	defer m.running.Store(false)
	if m.ended.Load() {
		return Exit{Reason: Failed}, m.whyEnded()
	}
	stop := context.AfterFunc(ctx, func() {
		if err := m.cancel(); err != nil {
			m.config.Log("the machine does not stop: %v", err)
		}
	})
	defer stop()
	if err := m.Do(func() {
		m.begin()
		defer m.startWatch()()
		exit, err = m.Resume()
	}); err != nil {
		return Exit{Reason: Failed}, err
	}
	if exit.Reason == Paused {
		m.serial.Drain()
		return exit, err
	}
	m.outsideEnded = !m.config.InStep || len(m.streams) > 0
	m.endDevices(exit.Reason == Cancelled)
	m.serial.Finish()
	if !m.serial.Drain() && exit.Reason == GuestExit {
		exit = Exit{Reason: Cancelled}
	}
	return exit, err
}

// begin starts, once, what feeds the UART and takes what it sends.
func (m *Machine) begin() {
	if m.begun {
		return
	}
	m.begun = true
	if m.config.Input != nil {
		go m.readInput()
	}
	if !m.config.ConsoleInStep {
		go m.writeConsole()
	}
}

var errClosed = errors.New("the machine is closed")

// cancel makes the loop end, now or as soon as it starts, and the console a little later.
func (m *Machine) cancel() error {
	if m.serial != nil {
		m.serial.Finish() // the loop may wait for room
		time.AfterFunc(FlushTime, func() {
			m.serial.Close()
			m.closeStreams()
		})
	}
	return m.want(wantCancel)
}

// readInput feeds the UART until the input or the machine ends.
func (m *Machine) readInput() {
	buffer := make([]byte, 1024)
	for {
		n, err := m.config.Input.Read(buffer)
		if m.serial.Feed(buffer[:n]) != nil || err != nil {
			return
		}
	}
}

// loop runs the guest from exit to exit. Apart from an end it allocates nothing.
func (m *Machine) loop() (Exit, error) {
	for {
		exit, err := m.step()
		if err != nil {
			return Exit{Reason: Failed}, err
		}
		if exit.Reason != 0 {
			return exit, nil
		}
	}
}

// step runs the guest to its next exit and serves that, or does what is wanted of the thread. The exit it returns has a reason
// if the guest is not to go on.
func (m *Machine) step() (Exit, error) {
	if !m.wants.enter() {
		m.wants.leave()
		return m.attend()
	}
	err := m.cpu.Run()
	m.wants.leave()
	switch {
	case err == kvm.ErrInterrupted: // no exit: the reason in kvm_run is an old one
		m.stats.interrupted.Add(1)
		m.half = false
		m.cpu.Resume() // whoever has kicked wants something
		return Exit{}, nil
	case err != nil:
		return Exit{}, err
	}
	m.half = true
	return m.serve(m.cpu.Reason())
}

// serve does what the guest exited for. The exit it returns has a reason if that was the
// guest's end.
func (m *Machine) serve(reason kvm.Reason) (Exit, error) {
	switch reason {
	case kvm.ExitIO:
		m.stats.io.Add(1)
		return m.servePort()
	case kvm.ExitMMIO:
		m.stats.mmio.Add(1)
		return Exit{}, m.serveMMIO()
	case kvm.ExitEOI:
		m.stats.eoi.Add(1)
		m.ioapic.EndOfInterrupt(m.cpu.EOIVector())
		return Exit{}, nil
	}
	m.stats.other.Add(1)
	switch reason {
	case kvm.ExitDebug:
		return m.serveDebug()
	case kvm.ExitShutdown:
		return Exit{Reason: Shutdown}, nil
	}
	return Exit{}, errors.New(m.cpu.Failure())
}

// serveDebug ends the machine at a breakpoint. A debug exception that is none, such as a
// task's single step, is the guest's own: KVM hands over all of them.
func (m *Machine) serveDebug() (Exit, error) {
	d := m.cpu.Debug()
	if d.Exception != kvm.VectorDebug {
		return Exit{}, errors.New(m.cpu.Failure())
	}
	if n, ok := d.Breakpoint(len(m.config.Breakpoints)); ok {
		return Exit{Reason: Breakpoint, Address: m.config.Breakpoints[n]}, nil
	}
	return Exit{}, m.cpu.InjectDebug()
}

func (m *Machine) servePort() (Exit, error) {
	io, err := m.cpu.IO()
	if err != nil {
		return Exit{}, err
	}
	m.history.add(event{port: true, write: io.Write, address: uint64(io.Port), size: uint8(io.Size)})
	d := m.portDevice(io.Port)
	if io.Write {
		d.WritePort(io.Port, io.Size, io.Data)
	} else {
		d.ReadPort(io.Port, io.Size, io.Data)
	}
	switch {
	case m.exit.Done:
		return m.last(Exit{Reason: GuestExit, Status: m.exitStatus()})
	case m.power.Off:
		return m.last(Exit{Reason: GuestExit})
	case m.power.Reset:
		return m.last(Exit{Reason: Reset})
	}
	return Exit{}, nil
}

// last returns the guest's end, by an access that is finished then.
func (m *Machine) last(end Exit) (Exit, error) {
	var err error
	m.half, err = m.cpu.Complete()
	return end, err
}

// exitStatus returns the guest's status, brought into its range.
func (m *Machine) exitStatus() int {
	if m.exit.Status > abi.ExitStatusMax {
		m.config.Log("exit status %d counts as %d, the largest", m.exit.Status, abi.ExitStatusMax)
		return abi.ExitStatusMax
	}
	return int(m.exit.Status)
}

func (m *Machine) portDevice(port uint16) device.Ports {
	for i := range m.ports {
		if r := &m.ports[i]; port >= r.base && port-r.base < r.size {
			return r.device
		}
	}
	m.stats.unknownPorts.Add(1)
	if m.strange.first(strangePort | uint64(port)) {
		m.config.Log("no device at I/O port %#x: it reads all ones", port)
	}
	return device.Nothing
}

func (m *Machine) serveMMIO() error {
	access, err := m.cpu.MMIO()
	if err != nil {
		return err
	}
	m.history.add(event{write: access.Write, address: access.Address, size: uint8(len(access.Data))})
	d, offset := m.mmioDevice(access.Address, uint64(len(access.Data)))
	if access.Write {
		d.WriteMMIO(offset, access.Data)
	} else {
		d.ReadMMIO(offset, access.Data)
	}
	return nil
}

func (m *Machine) mmioDevice(address, size uint64) (device.MMIO, uint64) {
	for i := range m.mmio {
		if r := &m.mmio[i]; address >= r.base && address-r.base <= r.size-size {
			return r.device, address - r.base
		}
	}
	m.stats.unknownMMIO.Add(1)
	if page := address / abi.PageSize; m.strange.first(page) {
		m.config.Log("no memory and no device at physical %#x: the page reads all ones", page*abi.PageSize)
	}
	return device.Nothing, 0
}

// strangers remembers the ports and pages without a device that were logged. Few are: a
// guest must not fill the log or the host's memory.
type strangers struct {
	seen  [32]uint64 // page number, or strangePort and the port
	count int
}

const strangePort = 1 << 63

// first reports whether to log key: it is new, and there is room to remember it.
func (s *strangers) first(key uint64) bool {
	for _, k := range s.seen[:s.count] {
		if k == key {
			return false
		}
	}
	if s.count == len(s.seen) {
		return false
	}
	s.seen[s.count] = key
	s.count++
	return true
}

// event is a port or memory access of the guest's.
type event struct {
	address uint64
	size    uint8
	write   bool
	port    bool
}

// String returns the event in words.
func (e event) String() string {
	verb := "read"
	if e.write {
		verb = "wrote to"
	}
	where := "physical address"
	if e.port {
		where = "I/O port"
	}
	return fmt.Sprintf("%s %s %#x, %d bits", verb, where, e.address, 8*int(e.size))
}

// history holds the last events of a machine.
type history struct {
	events [8]event
	count  int // events ever
}

func (h *history) add(e event) {
	h.events[h.count%len(h.events)] = e
	h.count++
}

// last returns the events that h holds, oldest first.
func (h *history) last() []event {
	var events []event
	for i := max(0, h.count-len(h.events)); i < h.count; i++ {
		events = append(events, h.events[i%len(h.events)])
	}
	return events
}
