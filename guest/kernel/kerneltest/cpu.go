package kerneltest

import (
	"fmt"
	"iter"
	"math/bits"
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// Program is what a task runs. When it returns, the task exits with code 0.
type Program func(t *Task)

// CPU is a kernel.CPU whose tasks are Programs, chosen by slot.
type CPU struct {
	Programs [kernel.MaxTasks]Program

	// ReserveFails makes Reserve report that there is no memory for page tables.
	ReserveFails bool
	// TakesTables makes Reserve take a page of memory for each 2 MiB that it is about, and one for a slot's first,
	// as the machine does; otherwise page tables cost nothing.
	TakesTables bool
	// OnIdle is called when the CPU sleeps and nothing is planned. Without it, sleeping is
	// the end: Machine.Run returns.
	OnIdle func()
	// OnPoll is called when the kernel lets interrupts in, between two pieces of long work.
	OnPoll func()
	// PieceTime is what such a piece takes, in microseconds.
	PieceTime uint64
	// Slices counts the writes of the slice timer.
	Slices int

	slots   [kernel.MaxTasks]Task
	planted [kernel.MaxTasks][]kernel.Page
	raised  uint64 // interrupt lines; they wait when a task runs, or the kernel lets them
	pending uint64 // those that wait
	kernel  *kernel.Kernel
	ram     *kernel.RAM // that NewTask was given
	clock   uint64
	slice   uint64     // its end; 0: none
	still   bool       // it stands still for kernel work
	began   uint64     // kernel work
	rest    uint64     // the end of the kernel's rest; 0: none
	due     [64]uint64 // when each interrupt line will be raised, 0: not planned
	fault   kernel.Fault
}

// alarmLine is the interrupt line of the alarm, timerLine that of the ends of slices and rests,
// which no driver serves.
const (
	alarmLine = 0
	timerLine = 63
)

// asleep is what Idle panics with when nothing can wake the CPU.
type asleep struct{}

// killed is what ends a Program whose task ended or restarted.
type killed struct{}

// Attach implements kernel.CPU.
func (c *CPU) Attach(k *kernel.Kernel) { c.kernel = k }

// Switch implements kernel.CPU. A system call takes a microsecond.
func (c *CPU) Switch(slot int) kernel.TrapReason {
	t := &c.slots[slot]
	if t.next == nil {
		panic(fmt.Sprintf("kerneltest: Switch to slot %d, which was not started", slot))
	}
	if c.still && c.slice != 0 {
		panic(fmt.Sprintf("kerneltest: Switch to slot %d in a slice that stands still", slot))
	}
	for {
		c.Advance(1)
		if c.interrupted() {
			return kernel.TrapInterrupt
		}
		trap, ok := t.next()
		if !ok {
			panic("kerneltest: a program ended without a trap")
		}
		if trap.reason != kernel.TrapSyscall || !c.systemCall(t) {
			c.fault = trap.fault
			return trap.reason
		}
	}
}

// systemCall hands the system call that the task makes to the kernel, and reports whether the task
// goes on with the results.
func (c *CPU) systemCall(t *Task) bool {
	w := &t.words
	var on bool
	w[0], w[1], w[2], w[3], on = kernel.SystemCall(c.kernel, t.class, w[0], w[1], w[2], w[3])
	if t.Start.Bits32 && kernel.Wide(t.class, w[0]) {
		w[0], w[1], w[2], w[3] = kernel.Narrow(w[0], w[1], w[2], w[3])
	}
	return on && t.upcall == nil
}

// Fault implements kernel.CPU.
func (c *CPU) Fault() *kernel.Fault { return &c.fault }

// Results implements kernel.CPU.
func (c *CPU) Results(slot int) *[4]uint64 { return &c.slots[slot].words }

// NewTask implements kernel.CPU. As much memory is taken as the machine takes.
func (c *CPU) NewTask(slot int, ram *kernel.RAM) *kernel.Task {
	record := ram.Take(abi.PageSize)
	if record == nil {
		return nil
	}
	c.slots[slot].record, c.ram = record, ram
	return new(kernel.Task)
}

// FreeSpace implements kernel.SpaceCPU.
func (c *CPU) FreeSpace(slot int) {
	t := &c.slots[slot]
	if t.stop != nil {
		panic(fmt.Sprintf("kerneltest: the page tables of slot %d were freed while its task runs", slot))
	}
	for _, table := range t.tables {
		c.ram.Give(table)
	}
	t.pages, t.reserved, t.tables = nil, nil, nil
}

// FreeTask implements kernel.SpaceCPU.
func (c *CPU) FreeTask(slot int) {
	t := &c.slots[slot]
	c.ram.Give(t.record)
	t.record = nil
}

// Start implements kernel.CPU.
func (c *CPU) Start(slot int, s kernel.StartState) {
	c.Clear(slot)
	t := &c.slots[slot]
	t.cpu, t.slot, t.Start = c, slot, s
	t.SP = max((s.InitialBreak&^15)-64, s.RAMStart+16) // a 32-bit task has little below its break
	t.upcall, t.Restored = nil, false
	program := c.Programs[slot]
	t.next, t.stop = iter.Pull(func(yield func(trap) bool) {
		defer func() {
			if r := recover(); r != nil && r != (killed{}) {
				panic(r)
			}
		}()
		t.yield = yield
		program(t)
		t.Syscall(abi.Exit, abi.ExitTerminate, 0)
	})
}

// registersMark is the first word of registers that a task may have.
const registersMark = 0x7265_6769_7374_6572

// SaveRegisters implements kernel.StateCPU.
func (c *CPU) SaveRegisters(slot int, to *kernel.Registers) {
	t := &c.slots[slot]
	clear(to[:])
	for i, word := range append([]uint64{registersMark, t.SP, t.FS, t.GS}, t.words[:]...) {
		to.SetWord(8*i, word)
	}
	if u := t.upcall; u != nil {
		for i, word := range []uint64{1, u.Fn, u.Userdata, uint64(u.Args[0]), uint64(u.Args[1]), uint64(u.Args[2])} {
			to.SetWord(64+8*i, word)
		}
	}
}

// MayHave implements kernel.StateCPU.
func (c *CPU) MayHave(r *kernel.Registers, bits32 bool) bool {
	return r.Word(0) == registersMark && r.Word(64) <= 1 && (!bits32 || (r.Word(32)|r.Word(40)|r.Word(48)|r.Word(56))>>32 == 0)
}

// RestoreRegisters implements kernel.StateCPU.
func (c *CPU) RestoreRegisters(slot int, r *kernel.Registers) {
	t := &c.slots[slot]
	t.Restored, t.SP, t.FS, t.GS = true, r.Word(8), r.Word(16), r.Word(24)
	for i := range t.words {
		t.words[i] = r.Word(32 + 8*i)
	}
	if r.Word(64) == 1 {
		t.upcall = &kernel.Upcall{Fn: r.Word(72), Userdata: r.Word(80), Args: [3]uint32{uint32(r.Word(88)), uint32(r.Word(96)), uint32(r.Word(104))}}
	}
}

// Clear implements kernel.CPU.
func (c *CPU) Clear(slot int) {
	t := &c.slots[slot]
	t.functions = nil
	if stop := t.stop; stop != nil {
		t.next, t.stop = nil, nil
		stop()
	}
}

// Upcall implements kernel.CPU.
func (c *CPU) Upcall(slot int, mem *kernel.Memory, u *kernel.Upcall) bool {
	t := &c.slots[slot]
	if !mem.WriteU64(t.SP-8, t.Start.Entry) {
		return false
	}
	called := *u
	t.upcall = &called
	return true
}

// SetSegmentBase implements kernel.CPU.
func (c *CPU) SetSegmentBase(slot int, op uint32, addr uint64) {
	if op == abi.MemopSetFSBase {
		c.slots[slot].FS = addr
	} else {
		c.slots[slot].GS = addr
	}
}

// PrintRegisters implements kernel.CPU.
func (c *CPU) PrintRegisters(_ int, w kernel.Writer) { w.WriteString("  (registers)\n") }

// Reserve implements kernel.CPU.
func (c *CPU) Reserve(slot int, addr, size uint64) bool {
	checkPages("Reserve", addr, size)
	t := &c.slots[slot]
	if c.ReserveFails || c.TakesTables && !t.takeTables(c.ram, addr, size) {
		return false
	}
	t.reserved = append(t.reserved, [2]uint64{addr, addr + size})
	return true
}

// takeTables takes what tables of [addr, addr+size) need and are not there.
func (t *Task) takeTables(ram *kernel.RAM, addr, size uint64) bool {
	const reach = 2 << 20
	wanted := map[uint64]bool{^uint64(0): true}
	for at := addr &^ (reach - 1); at < addr+size; at += reach {
		wanted[at] = true
	}
	if t.tables == nil {
		t.tables = map[uint64][]byte{}
	}
	for at := range wanted {
		if t.tables[at] != nil {
			continue
		}
		table := ram.Take(abi.PageSize)
		if table == nil {
			return false
		}
		t.tables[at] = table
	}
	return true
}

// Map implements kernel.CPU.
func (c *CPU) Map(slot int, addr uint64, mem []byte, rights kernel.Rights) {
	t := &c.slots[slot]
	t.checkReserved("Map", addr, uint64(len(mem)))
	if t.pages == nil {
		t.pages = map[uint64]page{}
	}
	for at := uint64(0); at < uint64(len(mem)); at += abi.PageSize {
		t.pages[addr+at] = page{mem[at : at+abi.PageSize], rights}
	}
}

// Unmap implements kernel.CPU.
func (c *CPU) Unmap(slot int, addr, size uint64) {
	t := &c.slots[slot]
	t.checkReserved("Unmap", addr, size)
	for at := addr; at < addr+size; at += abi.PageSize {
		delete(t.pages, at)
	}
}

// NextPage implements kernel.CPU: the pages that Map gave and those that Plant did.
func (c *CPU) NextPage(slot int, from uint64) (next kernel.Page, ok bool) {
	t := &c.slots[slot]
	for addr, p := range t.pages {
		write := p.rights == kernel.ReadWrite
		found := kernel.Page{Addr: addr, Size: abi.PageSize, Frame: c.Frame(p.mem), User: true, Write: write, Execute: !write}
		if addr >= from && (!ok || addr < next.Addr) {
			next, ok = found, true
		}
	}
	for _, p := range c.planted[slot] {
		if p.Addr >= from && (!ok || p.Addr < next.Addr) {
			next, ok = p, true
		}
	}
	return next, ok
}

// Plant puts a page into the slot's page tables behind the kernel's back.
func (c *CPU) Plant(slot int, p kernel.Page) { c.planted[slot] = append(c.planted[slot], p) }

// Frame implements kernel.CPU: the memory's own address.
func (c *CPU) Frame(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }

func checkPages(what string, addr, size uint64) {
	if addr%abi.PageSize != 0 || size%abi.PageSize != 0 {
		panic(fmt.Sprintf("kerneltest: %s of %#x, size %#x: not whole pages", what, addr, size))
	}
}

func (t *Task) checkReserved(what string, addr, size uint64) {
	checkPages(what, addr, size)
	for _, r := range t.reserved {
		if addr >= r[0] && addr+size <= r[1] {
			return
		}
	}
	panic(fmt.Sprintf("kerneltest: %s of %#x, size %#x: not reserved", what, addr, size))
}

// SetSlice implements kernel.CPU.
func (c *CPU) SetSlice(micros uint64) {
	c.slice, c.still = 0, false
	if micros != 0 {
		c.slice = c.clock + micros
	}
	c.Slices++
}

// SliceOver implements kernel.CPU.
func (c *CPU) SliceOver() bool {
	over := c.slice != 0 && c.clock >= c.slice
	if over {
		c.slice = 0
	}
	return over
}

// SliceLeft implements kernel.CPU.
func (c *CPU) SliceLeft() uint64 { return c.slice - min(c.clock, c.slice) }

// BeginWork implements kernel.CPU.
func (c *CPU) BeginWork() (sliceOver bool) {
	c.began, c.still = c.clock, true
	return c.SliceOver()
}

// EndWork implements kernel.CPU.
func (c *CPU) EndWork() (began, ended uint64) {
	c.still = false
	if c.slice != 0 {
		c.slice += c.clock - c.began
	}
	return c.began, c.clock
}

// TicksIn implements kernel.CPU: a tick is a microsecond.
func (c *CPU) TicksIn(micros uint64) uint64 { return micros }

// Rest implements kernel.CPU.
func (c *CPU) Rest(until uint64) bool {
	c.pending &^= 1 << timerLine
	c.rest = until
	return c.clock < until
}

// Interrupts implements kernel.CPU.
func (c *CPU) Interrupts() *uint64 { return &c.pending }

// NextInterrupt implements kernel.CPU.
func (c *CPU) NextInterrupt() (line int, ok bool) {
	c.pending &^= 1 << timerLine
	if c.pending == 0 {
		return 0, false
	}
	line = bits.TrailingZeros64(c.pending)
	c.pending &^= 1 << line
	return line, true
}

// Idle implements kernel.CPU.
func (c *CPU) Idle() {
	c.latch()
	next := ^uint64(0)
	for _, at := range c.due {
		if at != 0 {
			next = min(next, at)
		}
	}
	switch {
	case c.pending != 0:
	case next != ^uint64(0):
		c.Advance(next - c.clock)
		c.latch()
	case c.OnIdle != nil:
		c.OnIdle()
	default:
		panic(asleep{})
	}
}

// Poll implements kernel.CPU.
func (c *CPU) Poll() {
	c.Advance(c.PieceTime)
	c.interrupted()
	if c.OnPoll != nil {
		c.OnPoll()
	}
}

// Raise makes an interrupt line wait to be served, as soon as a task runs, or the kernel lets it.
func (c *CPU) Raise(line int) { c.raised |= 1 << line }

// latch makes lines that were raised wait, and reports whether there are any. One that waits
// already waits again when it is served.
func (c *CPU) latch() bool {
	fresh := c.raised &^ c.pending
	c.raised &^= fresh
	c.pending |= fresh
	return fresh != 0
}

// raiseAt plans to raise an interrupt line, in place of an earlier plan.
func (c *CPU) raiseAt(line int, at uint64) {
	c.due[line] = max(at, 1)
	c.Advance(0)
}

// Advance moves the clock by so many microseconds.
func (c *CPU) Advance(by uint64) {
	c.clock += by
	for line, at := range c.due {
		if at != 0 && c.clock >= at {
			c.due[line] = 0
			c.Raise(line)
		}
	}
}

// interrupted reports whether a task is interrupted now: a line that waits already interrupts
// no more. The end of a slice or a rest raises a line of its own, as the machine's timer does.
func (c *CPU) interrupted() bool {
	if c.slice != 0 && c.clock >= c.slice {
		c.Raise(timerLine)
	}
	if c.rest != 0 && c.clock >= c.rest {
		c.rest = 0
		c.Raise(timerLine)
	}
	return c.latch()
}
