package amd64

import (
	"math/bits"
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/guest/kernel"
)

// CPU implements kernel.CPU.
type CPU struct {
	_     [0]func() // likewise
	timer *Timer
	apic  *localAPIC
	keep  uint64       // with process-context identifiers the bit of CR3 that says that translations hold, else 0
	fault kernel.Fault // that the last Switch reported

	plan        mitigation.Plan
	application uint32 // ShortID of the task that ran last, 0: it is no other's

	spaces [kernel.MaxTasks]addressSpace
	kernel *addressSpace
	ramEnd uint64 // physical
}

// heartbeat counts the times that a task, sleep or an interrupt could get the processor, in the
// middle of long work too. A monitor's watchdog reads it (abi.NoteHeartbeat): while it stands
// still in ring 0 the kernel does not return to its main loop.
var heartbeat uint64

func (c *CPU) init(m *Machine) {
	c.timer, c.apic, c.kernel = &m.Timer, &m.apic, &m.kernel
	if m.features.pcid {
		c.keep = 1 << 63
	}
	release()
	ready = nil
	c.ramEnd = max(m.boot.ram, m.boot.high.end, abi.MMIOHoleEnd)
}

// Attach implements kernel.CPU.
func (c *CPU) Attach(k *kernel.Kernel) { attached = k }

// Switch implements kernel.CPU. The entry code of system calls hands them to the kernel. What is not
// ready is made so: the processor is to hold all that is the task's, and what it held of another is kept.
//
//go:nosplit
func (c *CPU) Switch(slot int) kernel.TrapReason {
	x := contexts[uint(slot)%kernel.MaxTasks]
	if x != ready {
		if (x.rip >= abi.UserMax || x.memory != nil) && !c.permit(x) {
			return kernel.TrapFault
		}
		if x != running {
			if c.plan.Barrier {
				c.separate(x)
			}
			exchange(x, x.space.load(c.keep))
		} else if x.space.stale {
			writeCR3(x.space.load(c.keep))
		}
		ready = x
	}
	heartbeat++
	if switchTo() {
		return kernel.TrapSyscall
	}
	return c.classify(running)
}

// Fault implements kernel.CPU.
func (c *CPU) Fault() *kernel.Fault { return &c.fault }

// Results implements kernel.CPU.
func (c *CPU) Results(slot int) *[4]uint64 { return &contexts[slot].results }

// permit reports whether a task may go on where its context says: a 32-bit one gets what its stack
// lacks. If not, c.fault says why.
func (c *CPU) permit(x *context) bool {
	if x.rip >= abi.UserMax { // SYSRET and IRET would fault in ring 0
		c.fault = kernel.Fault{Vector: vectorProtection, PC: x.rip, Name: "jump to an address that is not canonical"}
		return false
	}
	if !x.settle() {
		c.refuse("no writeable stack for the results of a system call")
		return false
	}
	return true
}

// unready makes the next Switch look at the slot anew.
func (c *CPU) unready(slot int) {
	if ready == contexts[slot] {
		ready = nil
	}
}

// classify says for what the task whose context x is came in, but for a system call that was served.
//
//go:nosplit
func (c *CPU) classify(x *context) kernel.TrapReason {
	if line := x.came - vectorLine0; line < vectorSyscall32-vectorLine0 {
		pending |= 1 << line
	} else if x.came != vectorNMI {
		c.explain(x)
		return kernel.TrapFault
	}
	// It may have come between a jump and the fault that the jump leads to: AMD's processors notice an
	// address that is not canonical only there.
	if x.rip >= abi.UserMax {
		ready = nil
	}
	return kernel.TrapInterrupt
}

// explain makes the fault for which the task came in.
func (c *CPU) explain(x *context) {
	if x.came == vectorSyscall32 || x.came == cameBySyscall {
		c.refuse("system call of the other kind: SYSCALL is for 64-bit tasks, INT 0x40 for 32-bit code of 32-bit tasks")
		return
	}
	f := kernel.Fault{Vector: uint8(x.came), Code: x.code, PC: x.rip}
	if x.came == vectorPageFault {
		f.Address = readCR2()
	}
	f.Name = faultName(f.Vector, f.Code)
	c.fault = f
}

// refuse makes a fault that no exception stands for.
func (c *CPU) refuse(why string) { c.fault = kernel.Fault{Vector: kernel.NoVector, Name: why} }

// NewTask implements kernel.CPU.
func (c *CPU) NewTask(slot int, ram *kernel.RAM) *kernel.Task {
	page := ram.Take(pageSize)
	if page == nil {
		return nil
	}
	clear(page[:unsafe.Sizeof(record{})])
	r := newRecord(page)
	contexts[slot] = &r.context
	s := &c.spaces[slot]
	s.ram, s.record = ram, physicalOf(page)
	return &r.task
}

// Start implements kernel.CPU.
func (c *CPU) Start(slot int, s kernel.StartState) {
	c.forget(slot)
	x := contexts[slot]
	*x = context{space: &c.spaces[slot]}
	x.rip, x.ss, x.rflags = s.Entry, userData, flagsFixed|flagIF
	x.shortID = s.ShortID
	if s.Bits32 {
		x.start32(s)
	} else {
		x.start64(s)
	}
	const controlWord, mxcsr = 0x037f, 0x1f80 // at reset (SDM vol. 1, 8.1.5 and 10.2.3)
	x.fx[0], x.fx[1] = controlWord&0xff, controlWord>>8
	x.fx[24], x.fx[25] = mxcsr&0xff, mxcsr>>8
}

func (x *context) start64(s kernel.StartState) {
	x.cs = userCode
	x.rdi, x.rsi, x.rdx, x.rcx = s.AppStart, s.RAMStart, s.RAMSize, s.InitialBreak
	x.rsp = s.InitialBreak&^15 - 8 // the kernel has cleared what it points to
}

// Clear implements kernel.CPU.
func (c *CPU) Clear(slot int) {
	c.forget(slot)
	*contexts[slot] = context{}
	contexts[slot].rip = abi.UserMax
}

// forget drops what the processor holds of a slot without keeping it.
func (c *CPU) forget(slot int) {
	if running == contexts[slot] {
		release()
	}
	c.unready(slot)
}

// SaveRegisters implements kernel.StateCPU. What the processor holds of the task is kept, and loaded again.
func (c *CPU) SaveRegisters(slot int, to *kernel.Registers) {
	x := contexts[slot]
	if x == running {
		exchange(x, x.space.load(c.keep))
	}
	x.save(to)
}

// MayHave implements kernel.StateCPU.
func (c *CPU) MayHave(r *kernel.Registers, bits32 bool) bool { return mayHave(r, bits32) }

// RestoreRegisters implements kernel.StateCPU.
func (c *CPU) RestoreRegisters(slot int, r *kernel.Registers) {
	x := contexts[slot]
	x.restore(r)
	x.owed = x.came == cameByInt40
}

// Upcall implements kernel.CPU.
//
//go:nosplit
func (c *CPU) Upcall(slot int, mem *kernel.Memory, u *kernel.Upcall) bool {
	x := contexts[slot]
	if x.memory != nil {
		c.unready(slot)
		return x.upcall32(u)
	}
	if !mem.WriteU64(x.rsp-8, x.rip) {
		return false
	}
	if u.Fn >= abi.UserMax {
		c.unready(slot)
	}
	x.rsp -= 8
	x.rip = u.Fn
	x.rdi, x.rsi, x.rdx, x.rcx = uint64(u.Args[0]), uint64(u.Args[1]), uint64(u.Args[2]), u.Userdata
	x.cs, x.ss, x.rflags = userCode, userData, flagsFixed|flagIF
	x.came = leavesByIRET
	return true
}

// SetSegmentBase implements kernel.CPU.
//
//go:nosplit
func (c *CPU) SetSegmentBase(slot int, op uint32, addr uint64) {
	field, msr := &contexts[slot].fsBase, uint32(msrFSBase)
	if op == abi.MemopSetGSBase {
		field, msr = &contexts[slot].gsBase, msrGSBase
	}
	*field = addr
	if running == contexts[slot] {
		wrmsr(msr, addr)
	}
}

// Reserve implements kernel.CPU.
func (c *CPU) Reserve(slot int, addr, size uint64) bool {
	if end := addr + size; end < addr || end > abi.UserMax-pageSize {
		return false
	}
	s := &c.spaces[slot]
	if s.root == 0 {
		root, ok := s.takeFrame()
		if !ok {
			return false
		}
		s.root, s.cr3 = root, root
		if c.keep != 0 {
			s.cr3 |= uint64(slot + 1) // the kernel has identifier 0
		}
		s.shareKernel(c.kernel, c.ramEnd)
	}
	return s.reserve(addr, size)
}

// Map implements kernel.CPU.
//
//go:nosplit
func (c *CPU) Map(slot int, addr uint64, mem []byte, rights kernel.Rights) {
	bits := uint64(userRX)
	if rights == kernel.ReadWrite {
		bits = userRW
	}
	c.spaces[slot].mapPages(addr, physicalOf(mem), uint64(len(mem)), bits)
	c.spaces[slot].stale = true
	c.unready(slot)
}

// Unmap implements kernel.CPU.
//
//go:nosplit
func (c *CPU) Unmap(slot int, addr, size uint64) {
	c.spaces[slot].unmapPages(addr, size)
	c.spaces[slot].stale = true
	c.unready(slot)
}

// SetSlice implements kernel.CPU.
//
//go:nosplit
func (c *CPU) SetSlice(micros uint64) { c.timer.setSlice(micros) }

// SliceOver implements kernel.CPU.
func (c *CPU) SliceOver() bool { return c.timer.stopSlice() }

// SliceLeft implements kernel.CPU.
func (c *CPU) SliceLeft() uint64 { return c.timer.sliceLeft() }

// Interrupts implements kernel.CPU.
func (c *CPU) Interrupts() *uint64 { return &pending }

// BeginWork implements kernel.CPU.
//
//go:nosplit
func (c *CPU) BeginWork() (sliceOver bool) { return c.timer.stopSlice() }

// EndWork implements kernel.CPU.
//
//go:nosplit
func (c *CPU) EndWork() (began, ended uint64) { return c.timer.goOn() }

// TicksIn implements kernel.CPU.
func (c *CPU) TicksIn(micros uint64) uint64 { return c.timer.ticksIn(micros) }

// Rest implements kernel.CPU. Only the timer's interrupt is taken. Until a device's is, the
// local APIC delivers no other of its priority class (SDM vol. 3, 11.8.3.1): a task is
// interrupted by devices once.
func (c *CPU) Rest(until uint64) bool {
	c.timer.now = rdtsc()
	if pending>>LineTimer&1 != 0 && c.takeTimer() {
		pending |= 1 << LineAlarm
	}
	return c.timer.startRest(until)
}

// NextInterrupt implements kernel.CPU. The alarm comes first, then the highest line: the end
// of interrupt is for the highest that is in service.
//
//go:nosplit
func (c *CPU) NextInterrupt() (line int, ok bool) {
	if pending>>LineTimer&1 != 0 && c.takeTimer() {
		return LineAlarm, true
	}
	if pending == 0 {
		return 0, false
	}
	line = 63 - bits.LeadingZeros64(pending)
	pending &^= 1 << line
	if line != LineAlarm {
		c.apic.write(apicEOI, 0)
	}
	return line, true
}

// takeTimer takes the timer's interrupt, and reports whether the alarm is due.
//
//go:nosplit
func (c *CPU) takeTimer() (alarm bool) {
	pending &^= 1 << LineTimer
	c.apic.write(apicEOI, 0)
	return c.timer.interrupted()
}

// Idle implements kernel.CPU.
func (c *CPU) Idle() {
	heartbeat++
	idle()
}

// Poll implements kernel.CPU.
func (c *CPU) Poll() {
	heartbeat++
	poll()
}
