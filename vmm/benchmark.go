package vmm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm/device"
	"kapsel/vmm/kvm"
)

// A Mark is the state of a machine's counters when its guest wrote to abi.PortMark. All of
// them count from the machine's start, so that the difference of two marks is what lies
// between, with one exit for the second mark itself.
type Mark struct {
	Value uint32 // what the guest wrote, such as abi.MarkBegin

	UserExits    uint64 // exits to the monitor
	Exits        Count  // all exits, those that KVM serves by itself among them
	Instructions Count  // instructions that the guest executed
	Events       Count  // writes to abi.PortEvent that KVM served by itself
}

// A Count is a counter's value, or the reason why there is none.
type Count struct {
	N   uint64 // meaningless unless Err is nil
	Err error
}

// benchmark is the benchmark device of guest/abi with the counters that a Mark has. The
// guest's accesses do nothing but end up here.
type benchmark struct {
	mark  func(Mark)
	stats *stats

	exits    *kvm.Statistic
	exitsErr error // why exits is nil

	instructions    *instructionCounter
	instructionsErr error

	event       int // eventfd, -1 if there is none
	eventErr    error
	events      uint64
	eventBuffer [8]byte
}

// Why a counter of a machine that was never opened, or is closed, has no value.
var errNoCounter = errors.New("the counter is not open")

// addBenchmark puts the device into the machine, its counters still unknown.
func (m *Machine) addBenchmark() {
	m.bench = &benchmark{
		mark: m.config.Mark, stats: &m.stats, event: -1,
		exitsErr: errNoCounter, instructionsErr: errNoCounter, eventErr: errNoCounter,
	}
	m.ports = append(m.ports, portRange{abi.PortMark, abi.PortEvent + 4 - abi.PortMark, m.bench})
	m.mmio = append(m.mmio, mmioRange{abi.BenchmarkMMIO, abi.PageSize, m.bench})
}

// openBenchmark opens the counters that this host offers, on the machine's thread: those
// of perf count the thread that asks. What is missing is not an error of the machine's.
func (m *Machine) openBenchmark(host *kvm.Device) {
	if m.bench == nil {
		return
	}
	b := m.bench
	b.exits, b.exitsErr = openExits(host, m.cpu)
	b.instructions, b.instructionsErr = openInstructionCounter()
	b.event, b.eventErr = openEvent(host, m.vm)
	for _, c := range []struct {
		what string
		err  error
	}{
		{"all exits", b.exitsErr}, {"guest instructions", b.instructionsErr}, {"writes to an ioeventfd", b.eventErr},
	} {
		if c.err != nil {
			m.config.Log("%s are not counted: %v", c.what, c.err)
		}
	}
}

// openExits opens KVM's own count of exits (Linux 5.14 and later).
func openExits(host *kvm.Device, cpu *kvm.VCPU) (*kvm.Statistic, error) {
	if err := wantCapability(host, kvm.CapBinaryStatsFD); err != nil {
		return nil, err
	}
	return cpu.Statistic("exits")
}

// openEvent makes an eventfd of abi.PortEvent.
func openEvent(host *kvm.Device, vm *kvm.VM) (int, error) {
	if err := wantCapability(host, kvm.CapIOEventFD); err != nil {
		return -1, err
	}
	fd, err := newEvent()
	if err != nil {
		return -1, err
	}
	if err := vm.PortEvent(abi.PortEvent, fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func wantCapability(host *kvm.Device, c kvm.Cap) error {
	n, err := host.Extension(c)
	if err == nil && n <= 0 {
		err = fmt.Errorf("this host's KVM lacks %v", c)
	}
	return err
}

// ReadPort reads all ones.
func (b *benchmark) ReadPort(port uint16, size int, data []byte) {
	device.Nothing.ReadPort(port, size, data)
}

// WritePort calls mark for each 32-bit value written to abi.PortMark.
func (b *benchmark) WritePort(port uint16, size int, data []byte) {
	if port != abi.PortMark || size != 4 {
		return
	}
	for ; len(data) >= 4; data = data[4:] {
		b.mark(b.read(binary.LittleEndian.Uint32(data)))
	}
}

// ReadMMIO reads all ones.
func (b *benchmark) ReadMMIO(offset uint64, data []byte) { device.Nothing.ReadMMIO(offset, data) }

// WriteMMIO does nothing: what is measured is the exit.
func (b *benchmark) WriteMMIO(uint64, []byte) {}

// read reads the counters.
func (b *benchmark) read(value uint32) Mark {
	m := Mark{Value: value, UserExits: b.stats.read().Exits()}
	m.Exits.Err, m.Instructions.Err, m.Events.Err = b.exitsErr, b.instructionsErr, b.eventErr
	if b.exitsErr == nil {
		m.Exits.N, m.Exits.Err = b.exits.Read()
	}
	if b.instructionsErr == nil {
		m.Instructions.N, m.Instructions.Err = b.instructions.read()
	}
	if b.eventErr == nil {
		m.Events.N, m.Events.Err = b.readEvents()
	}
	return m
}

// readEvents returns the events so far: reading an eventfd takes what has come since the
// last time, and fails with EAGAIN if that is nothing.
func (b *benchmark) readEvents() (uint64, error) {
	_, err := unix.Read(b.event, b.eventBuffer[:])
	if err != nil && err != unix.EAGAIN {
		return 0, fmt.Errorf("reading the eventfd: %w", err)
	}
	if err == nil {
		b.events += binary.NativeEndian.Uint64(b.eventBuffer[:])
	}
	return b.events, nil
}

// close closes the counters. A machine without the device has nil.
func (b *benchmark) close() error {
	if b == nil {
		return nil
	}
	var errs []error
	if b.exits != nil {
		errs = append(errs, b.exits.Close())
	}
	if b.instructions != nil {
		errs = append(errs, b.instructions.close())
	}
	if b.event >= 0 {
		errs = append(errs, unix.Close(b.event))
	}
	b.exits, b.instructions, b.event = nil, nil, -1
	b.exitsErr, b.instructionsErr, b.eventErr = errNoCounter, errNoCounter, errNoCounter
	return errors.Join(errs...)
}

// instructionCounter counts the instructions that its thread's guest executes
// (perf_event_open(2), PERF_COUNT_HW_INSTRUCTIONS without those of the host).
type instructionCounter struct {
	fd     int
	buffer [3 * 8]byte // value, time enabled, time running
}

func openInstructionCounter() (*instructionCounter, error) {
	attr := unix.PerfEventAttr{
		Type:        unix.PERF_TYPE_HARDWARE,
		Config:      unix.PERF_COUNT_HW_INSTRUCTIONS,
		Size:        uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Bits:        unix.PerfBitExcludeHost,
		Read_format: unix.PERF_FORMAT_TOTAL_TIME_ENABLED | unix.PERF_FORMAT_TOTAL_TIME_RUNNING,
	}
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, perfError(err)
	}
	return &instructionCounter{fd: fd}, nil
}

// perfError says what to do about a refusal of perf_event_open.
func perfError(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = ": be root, have CAP_PERFMON, or set /proc/sys/kernel/perf_event_paranoid to 1 or less"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENODEV):
		hint = ": this host shows no hardware counter of instructions, as most virtual machines do not"
	}
	return fmt.Errorf("perf_event_open: %w%s", err, hint)
}

func (c *instructionCounter) read() (uint64, error) {
	n, err := unix.Read(c.fd, c.buffer[:])
	if err != nil {
		return 0, fmt.Errorf("reading the counter of instructions: %w", err)
	}
	if n != len(c.buffer) {
		return 0, errShortCounter
	}
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(c.buffer[8*i:]) }
	return instructionsOf(word(0), word(1), word(2))
}

// Why a reading is not a count.
var (
	errShortCounter  = errors.New("the counter of instructions is shorter than perf_event_open(2) says")
	errSharedCounter = errors.New("the counter of instructions was shared with other users of perf, so it missed some: run nothing else that counts")
	errDeadCounter   = errors.New("the counter of instructions stands at 0: this host does not count those of guests")
)

// instructionsOf checks a reading: a counter that ran only part of the time knows nothing
// exact, and a guest that sets a mark has executed something.
func instructionsOf(value, enabled, running uint64) (uint64, error) {
	switch {
	case enabled != running:
		return 0, errSharedCounter
	case value == 0:
		return 0, errDeadCounter
	}
	return value, nil
}

func (c *instructionCounter) close() error { return unix.Close(c.fd) }
