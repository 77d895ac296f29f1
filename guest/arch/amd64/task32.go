package amd64

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// 32-bit tasks run in compatibility mode (SDM vol. 3, 2.2) by Tock's convention for x86
// (docs/abi.md, section 1): INT 0x40 with the class in EAX and four words at ESP, which
// take the results. They enter the kernel through an interrupt gate and leave it by IRET,
// as with any interrupt: with all that 32-bit code can see as it was, vector and x87 state
// included. Of vector registers the kernel uses some of those alone that such code has not.

// systemCall32 serves the system call of the task that runs, whose context x is. It reports
// whether the task goes on at once, with the results on its stack.
//
//go:nosplit
func systemCall32(x *context) (on bool) {
	words := x.memory.Words(x.stack32(0))
	if words == nil {
		x.systemCallBeyond()
		return false
	}
	class := abi.Class(x.rax)
	s0, s1, s2, s3, on := kernel.SystemCall(attached, class,
		uint64(words[0]), uint64(words[1]), uint64(words[2]), uint64(words[3]))
	if kernel.Wide(class, s0) {
		s0, s1, s2, s3 = kernel.Narrow(s0, s1, s2, s3)
	}
	if on && x == ready {
		words[0], words[1], words[2], words[3] = uint32(s0), uint32(s1), uint32(s2), uint32(s3)
		return true
	}
	x.owe(s0, s1, s2, s3)
	return false
}

// systemCallBeyond is systemCall32 where not all words are in the task's RAM: one that is not is 0, and the
// results find no place.
func (x *context) systemCallBeyond() {
	m, class := x.memory, abi.Class(x.rax)
	s0, s1, s2, s3, _ := kernel.SystemCall(attached, class, uint64(m.ReadU32(x.stack32(0))),
		uint64(m.ReadU32(x.stack32(4))), uint64(m.ReadU32(x.stack32(8))), uint64(m.ReadU32(x.stack32(12))))
	if kernel.Wide(class, s0) {
		s0, s1, s2, s3 = kernel.Narrow(s0, s1, s2, s3)
	}
	x.owe(s0, s1, s2, s3)
}

// owe keeps the results of a system call until the task goes on behind it, if it does and not in an
// upcall or from its start.
func (x *context) owe(s0, s1, s2, s3 uint64) {
	ready = nil
	if x.came == cameByInt40 {
		x.results, x.owed = [...]uint64{s0, s1, s2, s3}, true
	}
}

// settle puts the results of a system call that are owed on the stack. It reports false if
// they, or the first words, did not find one.
func (x *context) settle() bool {
	if x.owed {
		x.owed = false
		x.stackLost = !x.return32()
	}
	return !x.stackLost
}

// stack32 is the address so many bytes above ESP. In compatibility mode the upper half of
// RSP means nothing, and addresses wrap at 4 GiB (SDM vol. 1, 3.3.7).
func (x *context) stack32(offset int) uint64 { return uint64(uint32(x.rsp) + uint32(offset)) }

// return32 puts the result words where the arguments were. It reports false if the stack
// is not writeable.
func (x *context) return32() bool {
	words, r := x.memory.Words(x.stack32(0)), &x.results
	if words == nil {
		return false
	}
	for i := range r {
		words[i] = uint32(r[i])
	}
	return true
}

// upcall32 makes a call by the cdecl convention out of the Yield: its four words become
// the arguments, and below them lies the return address. It reports false, changing
// nothing, if the stack is not writeable.
func (x *context) upcall32(u *kernel.Upcall) bool {
	frame := [...]uint32{uint32(x.rip), u.Args[0], u.Args[1], u.Args[2], uint32(u.Userdata)}
	if !x.memory.WriteU32s(x.stack32(-4), frame[:]) {
		return false
	}
	x.owed, x.came = false, leavesByIRET
	x.rsp = x.stack32(-4)
	x.rip = u.Fn
	x.rflags = flagsFixed | flagIF
	return true
}

// start32 makes a call of the init function in the same way, with nowhere to return to.
func (x *context) start32(s kernel.StartState) {
	x.cs, x.ds, x.es = userCode32, userData, userData
	x.memory = s.Memory
	x.rip, x.rsp = 0, s.InitialBreak-16
	x.stackLost = !x.upcall32(&kernel.Upcall{
		Fn:       s.Entry,
		Args:     [3]uint32{uint32(s.AppStart), uint32(s.RAMStart), uint32(s.RAMSize)},
		Userdata: s.InitialBreak,
	})
	x.came = 0 // with the vector and x87 state of its context
}
