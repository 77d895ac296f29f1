package kerneltest

import (
	"fmt"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// Task is the CPU's side of a task, and what a Program acts through.
type Task struct {
	Start  kernel.StartState
	SP     uint64 // stack pointer at the next trap
	FS, GS uint64 // segment bases

	// Restored says that the task goes on from a saved state. A Program is no state: it begins again, and finds in its RAM what it had done.
	Restored bool

	cpu       *CPU
	slot      int
	next      func() (trap, bool)
	stop      func()
	yield     func(trap) bool
	class     abi.Class // of its last system call
	words     [4]uint64 // of that, then its results
	upcall    *kernel.Upcall
	functions []Function
	pages     map[uint64]page
	reserved  [][2]uint64
	tables    map[uint64][]byte // pages taken for page tables, by what they are for
	record    []byte            // the page taken for what is known of the task
}

// trap is why a task stops.
type trap struct {
	reason kernel.TrapReason
	fault  kernel.Fault
}

type page struct {
	mem    []byte
	rights kernel.Rights
}

// Function is an upcall function.
type Function func(args [3]uint32, userdata uint64)

// functionBase is the address of a task's first Function: inside its flash, behind the
// header and in front of nothing that tests look at.
const functionBase = abi.FlashStart + 0x800

// Function gives f an address.
func (t *Task) Function(f Function) uint64 {
	t.functions = append(t.functions, f)
	return functionBase + 8*uint64(len(t.functions)-1)
}

// Syscall traps, and returns the words that the kernel answered with. If the kernel made
// the task continue in an upcall, that runs first.
func (t *Task) Syscall(class abi.Class, words ...uint64) [4]uint64 {
	t.class, t.words = class, [4]uint64{}
	copy(t.words[:], words)
	t.trap(trap{reason: kernel.TrapSyscall})
	return t.GoOn()
}

// GoOn goes on behind the last system call, and returns the words that the kernel answered it with. A Program that begins Restored
// does this first, if its task was saved in a system call.
func (t *Task) GoOn() [4]uint64 {
	if u := t.upcall; u != nil {
		t.upcall = nil
		results := t.words
		t.run(u)
		return results
	}
	if r := t.words; t.Start.Bits32 && (r[0]|r[1]|r[2]|r[3])>>32 != 0 {
		panic(fmt.Sprintf("kerneltest: result words %#x for a 32-bit task", r))
	}
	return t.words
}

// run runs an upcall. A function that Function did not make cannot be run: its fetch
// faults.
func (t *Task) run(u *kernel.Upcall) {
	i := (u.Fn - functionBase) / 8
	if i >= uint64(len(t.functions)) {
		t.Fault(kernel.Fault{Vector: 14, Code: 0x14, Address: u.Fn, PC: u.Fn, Name: "page fault: fetch"})
	}
	t.functions[i](u.Args, u.Userdata)
}

// Fault traps with an exception.
func (t *Task) Fault(f kernel.Fault) { t.trap(trap{kernel.TrapFault, f}) }

// Spin computes for so many microseconds, however long that takes with interrupts.
func (t *Task) Spin(microseconds uint64) {
	for range microseconds {
		t.cpu.Advance(1)
		for t.cpu.interrupted() {
			t.trap(trap{reason: kernel.TrapInterrupt})
		}
	}
}

// trap goes to the kernel and comes back when the task is switched to again.
func (t *Task) trap(why trap) {
	if !t.yield(why) {
		panic(killed{})
	}
}

// Store writes bytes as the task's own instructions would: a page fault unless every
// page is there and writeable.
func (t *Task) Store(addr uint64, b ...byte) {
	for i, v := range b {
		at := addr + uint64(i)
		p, ok := t.pages[at&^(abi.PageSize-1)]
		if !ok || p.rights != kernel.ReadWrite {
			t.Fault(kernel.Fault{Vector: 14, Code: 6, Address: at, PC: t.Start.Entry, Name: "page fault: write"})
		}
		p.mem[at%abi.PageSize] = v
	}
}

// Load reads n bytes as the task's own instructions would: a page fault unless every
// page is there.
func (t *Task) Load(addr, n uint64) []byte {
	b := make([]byte, n)
	for i := range b {
		at := addr + uint64(i)
		p, ok := t.pages[at&^(abi.PageSize-1)]
		if !ok {
			t.Fault(kernel.Fault{Vector: 14, Code: 4, Address: at, PC: t.Start.Entry, Name: "page fault: read"})
		}
		b[i] = p.mem[at%abi.PageSize]
	}
	return b
}

// Mapped calls f for every page that the hardware lets the task at.
func (t *Task) Mapped(f func(addr uint64, mem []byte, rights kernel.Rights)) {
	for addr, p := range t.pages {
		f(addr, p.mem, p.rights)
	}
}

// Command is Syscall of class Command.
func (t *Task) Command(driver, command, a0, a1 uint64) [4]uint64 {
	return t.Syscall(abi.Command, driver, command, a0, a1)
}

// Subscribe is Syscall of class Subscribe.
func (t *Task) Subscribe(driver, number, fn, userdata uint64) [4]uint64 {
	return t.Syscall(abi.Subscribe, driver, number, fn, userdata)
}

// AllowRO is Syscall of class Allow Read-Only.
func (t *Task) AllowRO(driver, number, addr, length uint64) [4]uint64 {
	return t.Syscall(abi.AllowReadOnly, driver, number, addr, length)
}

// AllowRW is Syscall of class Allow Read-Write.
func (t *Task) AllowRW(driver, number, addr, length uint64) [4]uint64 {
	return t.Syscall(abi.AllowReadWrite, driver, number, addr, length)
}

// Memop is Syscall of class Memop. It returns the variant and the first payload word.
func (t *Task) Memop(op, arg uint64) (variant, value uint64) {
	r := t.Syscall(abi.Memop, op, arg)
	return r[0], r[1]
}

// Wait is Yield-Wait.
func (t *Task) Wait() { t.Syscall(abi.Yield, abi.YieldWait) }

// NoWait is Yield-NoWait. It reports whether an upcall ran, by the byte that it uses at
// the start of RAM.
func (t *Task) NoWait() bool {
	t.Store(t.Start.RAMStart, 0xff)
	t.Syscall(abi.Yield, abi.YieldNoWait, t.Start.RAMStart)
	switch flag := t.Load(t.Start.RAMStart, 1)[0]; flag {
	case 0, 1:
		return flag == 1
	default:
		panic(fmt.Sprintf("kerneltest: Yield-NoWait left %#x in its byte", flag))
	}
}

// WaitFor is Yield-WaitFor.
func (t *Task) WaitFor(driver, number uint64) [4]uint64 {
	return t.Syscall(abi.Yield, abi.YieldWaitFor, driver, number)
}

// Restart is Exit-restart.
func (t *Task) Restart(code uint64) { t.Syscall(abi.Exit, abi.ExitRestart, code) }
