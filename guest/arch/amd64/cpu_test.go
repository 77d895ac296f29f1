//go:build !kapsel

package amd64

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

var testStart = kernel.StartState{
	Entry: 0x4000_1000, AppStart: 0x4000_0100, RAMStart: 0x8000_0000, RAMSize: 0x2_0000, InitialBreak: 0x8000_1003,
}

// startTasks makes a CPU with n started tasks, each with a page of RAM.
func startTasks(t *testing.T, n int, pcid bool) *CPU {
	t.Helper()
	newHostCPU(t)
	r := newRAM(t, 4*mib)
	c := newCPU(t, r, pcid)
	for slot := range n {
		require.True(t, c.Reserve(slot, abi.RAMStart, pageSize))
		c.Map(slot, abi.RAMStart, r[0x10000+slot*pageSize:][:pageSize], kernel.ReadWrite)
		c.Start(slot, testStart)
	}
	return c
}

// systemCall is a task that makes a system call at once, which ends its turn.
func systemCall(x *context) { x.came, hostCPU.served = cameBySyscall, true }

// interrupted is a task that runs until the interrupt line.
func interrupted(line uint64) func(*context) {
	return func(x *context) {
		x.came = vectorLine0 + line
		x.fx = hostCPU.fx // as the entry code does
	}
}

func TestStartState(t *testing.T) {
	c := startTasks(t, 1, false)
	x := contexts[0]
	x.r15, x.fsBase, x.gsBase, x.ds, x.came = 1, 2, 3, 4, 14
	x.fx[100] = 5
	c.Start(0, testStart)

	want := context{space: &c.spaces[0], registers: registers{
		rdi: testStart.AppStart, rsi: testStart.RAMStart, rdx: testStart.RAMSize, rcx: testStart.InitialBreak,
		rip: testStart.Entry, cs: 0x2b, rflags: 0x202, rsp: 0x8000_0ff8, ss: 0x23,
	}}
	want.fx[0], want.fx[1] = 0x7f, 0x03   // FCW
	want.fx[24], want.fx[25] = 0x80, 0x1f // MXCSR
	assert.Equal(t, want, *x, "all other registers are 0")
	assert.EqualValues(t, 8, x.rsp%16, "as behind a call")
	assert.Less(t, x.came, uint64(cameBySyscall), "it goes out by IRET, with its x87 and vector state")
}

func TestClearedSlotDoesNotRun(t *testing.T) {
	c := startTasks(t, 1, false)
	c.Clear(0)
	hostCPU.task = func(*context) { t.Error("it ran") }
	trap := c.Switch(0)
	assert.Equal(t, kernel.TrapFault, trap)
}

func TestRIPOutsideTheLowHalfIsRefused(t *testing.T) {
	for _, rip := range []uint64{abi.UserMax, 1 << 63, abi.KernelBase, ^uint64(0), 0xffff_7fff_ffff_ffff} {
		t.Run(fmt.Sprintf("%#x", rip), func(t *testing.T) {
			c := startTasks(t, 1, false)
			contexts[0].rip = rip
			hostCPU.task = func(*context) { t.Error("switched to ring 3") }
			trap := c.Switch(0)
			assert.Equal(t, kernel.TrapFault, trap)
			assert.Equal(t, kernel.Fault{Vector: 13, PC: rip, Name: "jump to an address that is not canonical"}, *c.Fault())
			assert.Empty(t, hostCPU.writes, "registers were written")
		})
	}
	c := startTasks(t, 1, false)
	contexts[0].rip = abi.UserMax - 1
	hostCPU.task = systemCall
	assert.Equal(t, kernel.TrapSyscall, c.Switch(0), "the last address of the low half")
}

// An interrupt may find a task anywhere: behind a jump that is yet to fault.
func TestInterruptedOutsideTheLowHalf(t *testing.T) {
	for _, rip := range []uint64{abi.UserMax, 1 << 63, abi.DirectMap, abi.KernelBase, ^uint64(0)} {
		for _, vector := range []uint64{vectorNMI, vectorLine0 + LineTimer} {
			t.Run(fmt.Sprintf("%#x, vector %d", rip, vector), func(t *testing.T) {
				c := startTasks(t, 1, false)
				hostCPU.task = func(x *context) { x.came, x.rip = vector, rip }
				assert.Equal(t, kernel.TrapInterrupt, c.Switch(0))
				hostCPU.task = func(*context) { t.Error("switched to ring 3") }
				trap := c.Switch(0)
				assert.Equal(t, kernel.TrapFault, trap)
				assert.Equal(t, kernel.Fault{Vector: 13, PC: rip, Name: "jump to an address that is not canonical"}, *c.Fault())
			})
		}
	}
	c := startTasks(t, 1, false)
	hostCPU.task = func(x *context) { x.came, x.rip = vectorNMI, abi.UserMax-1 }
	c.Switch(0)
	assert.Equal(t, kernel.TrapInterrupt, c.Switch(0), "the last address of the low half")
}

// Nor does an upcall lead there, though the kernel lets a task subscribe no such function.
func TestUpcallOutsideTheLowHalf(t *testing.T) {
	for _, fn := range []uint64{abi.UserMax, 1 << 63, abi.KernelBase, ^uint64(0)} {
		c := startTasks(t, 1, false)
		hostCPU.task = systemCall
		c.Switch(0)
		require.Same(t, contexts[0], ready)
		require.True(t, c.Upcall(0, memoryAt(t, abi.RAMStart, make([]byte, 2*pageSize)), &kernel.Upcall{Fn: fn}))
		hostCPU.task = func(*context) { t.Error("switched to ring 3") }
		assert.Equal(t, kernel.TrapFault, c.Switch(0), "%#x", fn)
	}
}

// Behind a SYSCALL in the last two bytes of the low half RCX would not be canonical.
func TestTheLastPageIsNeverReserved(t *testing.T) {
	newHostCPU(t)
	c := newCPU(t, newRAM(t, 4*mib), false)
	const last = abi.UserMax - pageSize
	for _, tt := range []struct {
		name       string
		addr, size uint64
		want       bool
	}{
		{"the last page", last, pageSize, false},
		{"across its start", last - pageSize, 2 * pageSize, false},
		{"the first of the upper half", abi.UserMax, pageSize, false},
		{"the kernel's half", abi.KernelBase, pageSize, false},
		{"across address 0", ^uint64(pageSize - 1), 2 * pageSize, false},
		{"to its start", last - pageSize, pageSize, true},
	} {
		assert.Equal(t, tt.want, c.Reserve(0, tt.addr, tt.size), tt.name)
	}
}

func TestSwitchDecodesSystemCalls(t *testing.T) {
	c := startTasks(t, 1, false)
	hostCPU.task = func(x *context) {
		systemCall(x)
		x.results = [4]uint64{128, 5, 6, 7} // as the entry code does
	}
	assert.Equal(t, kernel.TrapSyscall, c.Switch(0))
	r := c.Results(0)
	assert.Equal(t, [4]uint64{128, 5, 6, 7}, *r)
	r[1] = 1 << 40
	assert.Equal(t, [4]uint64{128, 1 << 40, 6, 7}, contexts[0].results, "switchTo takes the results from there")
}

func TestSwitchDecodesInterrupts(t *testing.T) {
	for _, line := range []uint64{0, 4, 15} {
		c := startTasks(t, 1, false)
		hostCPU.task = interrupted(line)
		assert.Equal(t, kernel.TrapInterrupt, c.Switch(0))
		assert.NotZero(t, *c.Interrupts())
		got, ok := c.NextInterrupt()
		assert.True(t, ok)
		assert.EqualValues(t, line, got)
		assert.Zero(t, *c.Interrupts())
		assert.Contains(t, hostCPU.device, uintptr(lapicBase+0xb0), "end of interrupt")
	}
	c := startTasks(t, 1, false)
	hostCPU.task = func(x *context) { x.came = 2 }
	assert.Equal(t, kernel.TrapInterrupt, c.Switch(0), "an NMI is nobody's fault")
	assert.Zero(t, *c.Interrupts())
}

// TestInterruptsAreTakenHighestFirst: an end of interrupt is for the highest line in service.
func TestInterruptsAreTakenHighestFirst(t *testing.T) {
	newHostCPU(t)
	c := &CPU{apic: &localAPIC{x2: true}}
	pending = 1<<4 | 1<<15 | 1<<0
	for _, want := range []int{15, 4, 0} {
		line, ok := c.NextInterrupt()
		require.True(t, ok)
		assert.Equal(t, want, line)
	}
	_, ok := c.NextInterrupt()
	assert.False(t, ok)
	assert.Len(t, hostCPU.writes, 3, "an end of interrupt for each, and none for nothing")
}

// TestTimerInterrupt: the CPU serves the timer. The alarm is a line that ends no interrupt.
func TestTimerInterrupt(t *testing.T) {
	timer, _ := newTimer(t, true)
	c := &CPU{apic: &localAPIC{x2: true}, timer: timer}
	const endOfInterrupt = 0x80b
	ends := func() (n int) {
		for _, w := range hostCPU.writes {
			if w.number == endOfInterrupt {
				n++
			}
		}
		hostCPU.writes = nil
		return n
	}
	timer.SetAlarm(100)
	pending = 1 << LineTimer
	_, ok := c.NextInterrupt()
	assert.False(t, ok, "the alarm is not due")
	assert.Equal(t, 1, ends())

	setTime(100)
	c.BeginWork()
	pending = 1<<LineTimer | 1<<4
	for _, want := range []int{LineAlarm, 4} {
		line, ok := c.NextInterrupt()
		assert.True(t, ok)
		assert.Equal(t, want, line)
	}
	assert.Equal(t, 2, ends(), "the timer's and the device's")
	assert.Zero(t, pending)
}

// TestRest: while the kernel rests the timer is served, and nothing else.
func TestRest(t *testing.T) {
	timer, client := newTimer(t, true)
	c := &CPU{apic: &localAPIC{x2: true}, timer: timer}
	until := hostCPU.tsc + c.TicksIn(500)
	timer.SetAlarm(200)
	_, _ = armedFor(true)
	pending = 1 << 4
	assert.True(t, c.Rest(until))
	_, set := armedFor(true)
	assert.False(t, set, "the alarm is earlier")

	setTime(200)
	pending |= 1 << LineTimer
	assert.True(t, c.Rest(until))
	assert.EqualValues(t, 1<<4|1<<LineAlarm, pending, "the device and the alarm wait")
	assert.Zero(t, client.fired)
	at, set := armedFor(true)
	assert.True(t, set)
	assert.EqualValues(t, 500, at, "the end of the rest")

	setTime(500)
	pending |= 1 << LineTimer
	assert.False(t, c.Rest(until))
	assert.EqualValues(t, 1<<4|1<<LineAlarm, pending)
}

func TestSwitchDecodesFaults(t *testing.T) {
	c := startTasks(t, 1, false)
	hostCPU.cr2 = 0x1234
	hostCPU.task = func(x *context) { x.came, x.code, x.rip = 14, 7, 0x4000_2000 }
	trap := c.Switch(0)
	assert.Equal(t, kernel.TrapFault, trap)
	assert.Equal(t, kernel.Fault{Vector: 14, Code: 7, Address: 0x1234, PC: 0x4000_2000,
		Name: "page fault: write to a page that it may not write"}, *c.Fault())

	hostCPU.task = func(x *context) { x.came, x.code = 6, 0 }
	assert.Equal(t, kernel.TrapFault, c.Switch(0))
	assert.Equal(t, kernel.Fault{Vector: 6, PC: 0x4000_2000, Name: "invalid instruction"}, *c.Fault(),
		"no address of an earlier page fault")
}

func TestUpcallFrame(t *testing.T) {
	c := startTasks(t, 1, false)
	x := contexts[0]
	*x = context{registers: registers{rip: 0x4000_3000, rsp: 0x8000_1000, rflags: 0x602, came: cameBySyscall, cs: userCode32, ss: userData, rbx: 9}}
	before := *x
	u := &kernel.Upcall{Fn: 0x4000_4000, Args: [3]uint32{1, ^uint32(0), 3}, Userdata: 1 << 60}

	assert.False(t, c.Upcall(0, &kernel.Memory{}, u), "no stack there")
	assert.Equal(t, before, *x, "nothing changed")

	x.rsp = 4 // RSP - 8 wraps
	assert.False(t, c.Upcall(0, &kernel.Memory{}, u), "a stack across address 0")

	*x = before
	stack := make([]byte, pageSize)
	require.True(t, c.Upcall(0, memoryAt(t, abi.RAMStart, stack), u))
	want := before
	want.rsp, want.rip, want.rflags, want.came = 0x8000_0ff8, 0x4000_4000, 0x202, leavesByIRET
	want.cs = userCode // SYSCALL came from there; what is in the context is older
	want.rdi, want.rsi, want.rdx, want.rcx = 1, 0xffff_ffff, 3, 1<<60
	assert.Equal(t, want, *x, "an ordinary call of u.Fn, by IRET for RCX's sake; all else as it was")
	assert.EqualValues(t, 0x4000_3000, binary.LittleEndian.Uint64(stack[0xff8:]), "the return address, behind the SYSCALL")
	assert.Equal(t, make([]byte, 0xff8), stack[:0xff8], "below it nothing")
	assert.EqualValues(t, 8, x.rsp%16, "as behind a call")
}

// memoryAt makes a task's memory of ram, all of it below the break. The kernel makes one
// only with a task around it, hence by force.
func memoryAt(t *testing.T, start uint64, ram []byte) *kernel.Memory {
	m := &kernel.Memory{}
	for name, value := range map[string]any{"ramStart": start, "ram": ram, "appBreak": start + uint64(len(ram))} {
		field := reflect.ValueOf(m).Elem().FieldByName(name)
		require.True(t, field.IsValid(), "kernel.Memory has no field %s", name)
		reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().Set(reflect.ValueOf(value))
	}
	return m
}

// The processor's state must follow the slots, whatever made them stop.
func TestStateFollowsTheSlot(t *testing.T) {
	for _, stop := range []struct {
		name string
		trap func(*context)
	}{{"system call", systemCall}, {"interrupt", interrupted(4)}} {
		t.Run(stop.name, func(t *testing.T) {
			c := startTasks(t, 3, false)
			run := func(slot int, check func()) {
				hostCPU.task = func(x *context) {
					assert.Same(t, contexts[slot], x)
					assert.Equal(t, addressOf(&x.ss)+8, uint64(tss[tssRSP0])|uint64(tss[tssRSP0+1])<<32)
					assert.Equal(t, c.spaces[slot].root, hostCPU.cr3)
					if x.came < cameBySyscall {
						hostCPU.fx = x.fx // as the entry code does
					}
					check()
					stop.trap(x)
				}
				c.Switch(slot)
			}
			for slot := range 3 {
				run(slot, func() {
					assert.Zero(t, hostCPU.msr[msrFSBase], "FS base of another task")
					assert.Zero(t, hostCPU.msr[msrGSBase])
					assert.Zero(t, hostCPU.ds|hostCPU.es|hostCPU.fs|hostCPU.gs, "selectors of another task")
					assert.Equal(t, []byte{0x7f, 0x03}, hostCPU.fx[:2], "x87 state of another task")
					assert.Zero(t, hostCPU.fx[200])
					mark := byte(slot + 1)
					hostCPU.msr[msrFSBase], hostCPU.msr[msrGSBase] = uint64(mark), uint64(mark)<<8
					hostCPU.ds, hostCPU.es, hostCPU.fs, hostCPU.gs = uint16(mark), uint16(mark)+10, uint16(mark)+20, uint16(mark)+30
					hostCPU.fx[0], hostCPU.fx[200] = mark, mark
				})
			}
			for slot := range 3 {
				run(slot, func() {
					mark := byte(slot + 1)
					assert.EqualValues(t, mark, hostCPU.msr[msrFSBase])
					assert.EqualValues(t, uint64(mark)<<8, hostCPU.msr[msrGSBase])
					assert.Equal(t, []uint16{uint16(mark), uint16(mark) + 10, uint16(mark) + 20, uint16(mark) + 30},
						[]uint16{hostCPU.ds, hostCPU.es, hostCPU.fs, hostCPU.gs})
					assert.Equal(t, []byte{mark, mark}, []byte{hostCPU.fx[0], hostCPU.fx[200]})
				})
			}
		})
	}
}

// A restarted or cleared task must not hand its state to anyone, its successor included.
func TestStartForgetsWhatTheProcessorHolds(t *testing.T) {
	c := startTasks(t, 1, false)
	hostCPU.task = func(x *context) {
		hostCPU.msr[msrFSBase], hostCPU.fx[200], hostCPU.ds = 7, 7, 7
		systemCall(x)
	}
	c.Switch(0)
	c.Clear(0)
	c.Start(0, testStart)
	hostCPU.task = func(x *context) {
		assert.Zero(t, hostCPU.msr[msrFSBase])
		assert.Zero(t, hostCPU.ds)
		assert.Zero(t, x.fx[200])
		systemCall(x)
	}
	c.Switch(0)
}

func TestAddressSpaceIsLoadedOnlyWhenNeeded(t *testing.T) {
	for _, pcid := range []bool{false, true} {
		t.Run(fmt.Sprintf("PCID %v", pcid), func(t *testing.T) {
			c := startTasks(t, 2, pcid)
			hostCPU.task = systemCall
			loads := func(slot int) []uint64 {
				hostCPU.writes = nil
				c.Switch(slot)
				var values []uint64
				for _, w := range hostCPU.writes {
					if w.name == "CR3" {
						values = append(values, w.value)
					}
				}
				return values
			}
			cr3 := func(slot int, keep bool) []uint64 {
				v := c.spaces[slot].root
				if pcid {
					v |= uint64(slot + 1)
					if keep {
						v |= 1 << 63
					}
				}
				return []uint64{v}
			}
			assert.Equal(t, cr3(0, false), loads(0), "first run: it was mapped")
			assert.Nil(t, loads(0), "it runs again")
			assert.Equal(t, cr3(1, false), loads(1), "first run of another")
			assert.Equal(t, cr3(0, true), loads(0), "back to the first")
			c.Unmap(0, abi.RAMStart, pageSize)
			assert.Equal(t, cr3(0, false), loads(0), "it has lost a page")
			assert.Nil(t, loads(0))
			c.Unmap(1, abi.RAMStart, pageSize)
			assert.Nil(t, loads(0), "another has lost a page")
			assert.Equal(t, cr3(1, false), loads(1), "that other")
		})
	}
}

func TestSetSegmentBase(t *testing.T) {
	c := startTasks(t, 2, false)
	hostCPU.task = systemCall
	c.Switch(0)
	c.SetSegmentBase(0, abi.MemopSetFSBase, 0x1000)
	c.SetSegmentBase(0, abi.MemopSetGSBase, 0x2000)
	assert.EqualValues(t, 0x1000, hostCPU.msr[msrFSBase], "the running task's, at once")
	assert.EqualValues(t, 0x2000, hostCPU.msr[msrGSBase])
	c.SetSegmentBase(1, abi.MemopSetFSBase, 0x3000)
	assert.EqualValues(t, 0x1000, hostCPU.msr[msrFSBase], "another's waits")
	c.Switch(1)
	assert.EqualValues(t, 0x3000, hostCPU.msr[msrFSBase])
	c.Switch(0)
	assert.EqualValues(t, 0x1000, hostCPU.msr[msrFSBase])
	assert.EqualValues(t, 0x2000, hostCPU.msr[msrGSBase])
}

// The layout of a context is the processor's and the entry code's.
func TestContextLayout(t *testing.T) {
	var x context
	assert.Zero(t, unsafe.Offsetof(record{}.context)%16, "a record begins on a page")
	assert.Zero(t, unsafe.Offsetof(x.fx)%16, "FXSAVE64 needs 16-byte alignment")
	assert.Zero(t, (unsafe.Offsetof(x.ss)+8)%16, "the processor aligns the stack that it pushes to")
	assert.EqualValues(t, unsafe.Offsetof(x.fx), unsafe.Offsetof(x.ss)+8, "trap finds fx by its offset")
	assert.EqualValues(t, 4*8, unsafe.Sizeof(x.results))
	const frame = 8 + 5*8 + 2*8 + 15*8 // alignment, the processor's words, the stub's, the registers
	assert.GreaterOrEqual(t, strayFrame, frame, "kernelTrap's frame below a context")
	assert.Zero(t, strayFrame%16)
	assert.GreaterOrEqual(t, unsafe.Offsetof(record{}.context), uintptr(strayFrame), "room below a context")
	pushed := []struct {
		name string
		at   uintptr
	}{
		{"R15", unsafe.Offsetof(x.r15)}, {"R14", unsafe.Offsetof(x.r14)}, {"R13", unsafe.Offsetof(x.r13)},
		{"R12", unsafe.Offsetof(x.r12)}, {"RBP", unsafe.Offsetof(x.rbp)}, {"RBX", unsafe.Offsetof(x.rbx)},
		{"R11", unsafe.Offsetof(x.r11)}, {"R10", unsafe.Offsetof(x.r10)}, {"R9", unsafe.Offsetof(x.r9)},
		{"R8", unsafe.Offsetof(x.r8)}, {"RAX", unsafe.Offsetof(x.rax)}, {"RCX", unsafe.Offsetof(x.rcx)},
		{"RDX", unsafe.Offsetof(x.rdx)}, {"RSI", unsafe.Offsetof(x.rsi)}, {"RDI", unsafe.Offsetof(x.rdi)},
		{"vector", unsafe.Offsetof(x.vector)}, {"error code", unsafe.Offsetof(x.code)},
		{"RIP", unsafe.Offsetof(x.rip)}, {"CS", unsafe.Offsetof(x.cs)}, {"RFLAGS", unsafe.Offsetof(x.rflags)},
		{"RSP", unsafe.Offsetof(x.rsp)}, {"SS", unsafe.Offsetof(x.ss)},
	}
	for i, p := range pushed {
		assert.EqualValues(t, 8*i, p.at, p.name)
	}
}

// TestHeartbeat: it goes on when a task or sleep gets the processor or a piece of work is done, and at
// nothing else.
func TestHeartbeat(t *testing.T) {
	c := startTasks(t, 1, false)
	hostCPU.task = systemCall
	for _, tt := range []struct {
		name string
		do   func()
		want uint64 // beats
	}{
		{"a task runs", func() { c.Switch(0) }, 1},
		{"the processor sleeps", c.Idle, 1},
		{"a piece of long work", c.Poll, 1},
		{"a look for interrupts", func() { c.NextInterrupt() }, 0},
		{"a task that cannot run", func() { c.Clear(0); c.Switch(0) }, 0},
	} {
		before := heartbeat
		tt.do()
		assert.Equal(t, tt.want, heartbeat-before, tt.name)
	}
}
