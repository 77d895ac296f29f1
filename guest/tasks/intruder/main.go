//go:build kapsel_task

// Command intruder tries to leave its confines in every way it knows, one way in each of
// its lives: the kernel is to stop it and start it again. Which way comes next it
// keeps in a writeable flash region, which outlives a restart. If an attempt succeeds it
// says so and ends with completion code 1.
package main

//kapsel:flash 4096

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// An attempt is one way to break out. Each is followed by the kernel's report of the fault.
type attempt struct {
	what string
	do   func()
}

var attempts = [...]attempt{
	{"write the kernel's data", func() { poke(abi.KernelBase + 0x200000) }},
	{"read the kernel's data", func() { peek(abi.KernelBase + 0x200000) }},
	{"write all tasks' memory, through the kernel's map of it", func() { poke(abi.DirectMap + 0x400000) }},
	{"write its own code", func() { poke(codeAddress()) }},
	{"write its own object's header", func() { poke(memop(abi.MemopFlashStart, 0)) }},
	{"write the grants that the kernel keeps in its RAM", func() { poke(memop(abi.MemopRAMEnd, 0) - 8) }},
	{"execute its data", func() { jump(uint64(uintptr(unsafe.Pointer(&data)))) }},
	{"execute its stack", func() { var local [8]byte; jump(uint64(uintptr(unsafe.Pointer(&local)))) }},
	{"jump to 0", func() { jump(0) }},
	{"jump to an address that is not canonical", func() { jump(1 << 62) }},
	{"run CLI", cli},
	{"run OUT to the machine's exit port", out},
	{"run MOV to CR3", movCR3},
	{"run WRMSR to the system call entry", wrmsr},
	{"run HLT", hlt},
	{"load a descriptor table", lgdt},
	{"use data of a local descriptor table", localData},
	{"jump into code of a local descriptor table", localCode},
	{"make a system call of an unknown class", func() { task.Raw(99, 0, 0, 0, 0) }},
	{"raise the kernel's double-fault vector", int8},
}

var data [16]byte

func main() {
	next := pointer(memop(abi.MemopRegionStart, 0))
	if int(*next) == len(attempts) {
		task.Print("intruder: all " + task.Decimal(uint64(*next)) + " attempts were stopped\n")
		task.Exit(0)
	}
	task.Sleep(40) // let the others be seen going on
	a := &attempts[*next]
	*next++
	task.Print("intruder: attempt " + task.Decimal(uint64(*next)) + ": " + a.what + "\n")
	a.do()
	task.Print("intruder: NOT STOPPED\n")
	task.Exit(1)
}

func memop(op uint32, arg uint64) uint64 {
	v, err := task.Memop(op, arg)
	if err != nil {
		panic("memop failed")
	}
	return v
}

func pointer(addr uint64) *byte { return (*byte)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))) }

func poke(addr uint64) { *pointer(addr) = 0x5a }

func peek(addr uint64) { data[0] = *pointer(addr) }

// Instructions, in attempts_amd64.s.

func codeAddress() uint64
func jump(addr uint64)
func cli()
func out()
func movCR3()
func wrmsr()
func hlt()
func lgdt()
func localData()
func localCode()
func int8()
