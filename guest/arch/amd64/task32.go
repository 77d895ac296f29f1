package amd64

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// 32-bit tasks run in compatibility mode (SDM vol. 3, 2.2) by Tock's convention for x86
// (docs/abi.md, section 1): INT 0x40 with the class in EAX and four words at ESP, which
// take the results. They enter the kernel through an interrupt gate and leave it by IRET,
// as with any interrupt: with all registers, vector and x87 state included, as they were.

// syscall32 fills in the system call. A word that is not in the task's RAM is 0.
func (x *context) syscall32() {
	x.call.Class = abi.Class(x.rax)
	var w [4]uint32
	if !x.memory.ReadU32s(x.stack32(0), w[:]) {
		for i := range w {
			w[i] = x.memory.ReadU32(x.stack32(4 * i))
		}
	}
	x.call.Args = [4]uint64{uint64(w[0]), uint64(w[1]), uint64(w[2]), uint64(w[3])}
	x.owed = true
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
	r := &x.call.Args
	words := [...]uint32{uint32(r[0]), uint32(r[1]), uint32(r[2]), uint32(r[3])}
	return x.memory.WriteU32s(x.stack32(0), words[:])
}

// upcall32 makes a call by the cdecl convention out of the Yield: its four words become
// the arguments, and below them lies the return address. It reports false, changing
// nothing, if the stack is not writeable.
func (x *context) upcall32(u *kernel.Upcall) bool {
	frame := [...]uint32{uint32(x.rip), u.Args[0], u.Args[1], u.Args[2], uint32(u.Userdata)}
	if !x.memory.WriteU32s(x.stack32(-4), frame[:]) {
		return false
	}
	x.owed = false
	x.rsp = x.stack32(-4)
	x.rip = u.Fn
	x.rflags = flagsFixed | flagIF
	return true
}

// start32 makes a call of the init function in the same way, with nowhere to return to.
func (x *context) start32(s kernel.StartState) {
	x.cs, x.ds, x.es = userCode32, userData, userData
	x.memory, x.onSyscall = s.Memory, &otherKind
	x.rip, x.rsp = 0, s.InitialBreak-16
	x.stackLost = !x.upcall32(&kernel.Upcall{
		Fn:       s.Entry,
		Args:     [3]uint32{uint32(s.AppStart), uint32(s.RAMStart), uint32(s.RAMSize)},
		Userdata: s.InitialBreak,
	})
}
