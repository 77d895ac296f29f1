package boot

import (
	"encoding/binary"

	"kapsel/guest/abi"
)

// asm32 puts together the machine code of a 32-bit task that checks what it is told to. The
// task exits with the number of the first check that failed, or with 0.
type asm32 struct {
	base   uint32 // address of the first byte
	code   []byte
	checks uint32
}

func (a *asm32) bytes(b ...byte) { a.code = append(a.code, b...) }

func (a *asm32) word(v uint32) { a.code = binary.LittleEndian.AppendUint32(a.code, v) }

// here is the address of the next instruction.
func (a *asm32) here() uint32 { return a.base + uint32(len(a.code)) }

func (a *asm32) push(v uint32) {
	a.bytes(0x68)
	a.word(v)
}

// mov loads a register: 0 EAX, 1 ECX, 2 EDX, 3 EBX, 4 ESP, 5 EBP, 6 ESI, 7 EDI.
func (a *asm32) mov(register byte, v uint32) {
	a.bytes(0xb8 + register)
	a.word(v)
}

// store puts EAX at an address.
func (a *asm32) store(addr uint32) {
	a.bytes(0xa3)
	a.word(addr)
}

// load fetches EAX from an address.
func (a *asm32) load(addr uint32) {
	a.bytes(0xa1)
	a.word(addr)
}

// trap makes a system call and leaves its words on the stack.
func (a *asm32) trap(class abi.Class, words ...uint32) {
	var all [4]uint32
	copy(all[:], words)
	for i := range all {
		a.push(all[3-i])
	}
	a.mov(0, uint32(class))
	a.bytes(0xcd, 0x40) // int $0x40
}

// begin is the start code of a program: it moves the break, then ESP.
func (a *asm32) begin(end, stack uint32) {
	a.trap(abi.Memop, abi.MemopBrk, end)
	a.mov(4, stack)
}

// drop takes a system call's words off the stack.
func (a *asm32) drop() { a.bytes(0x83, 0xc4, 16) } // add $16, %esp

// call makes a system call, checks its result words and drops them.
func (a *asm32) call(class abi.Class, words []uint32, want ...uint32) {
	a.trap(class, words...)
	for i, w := range want {
		a.stack(4*i, w)
	}
	a.drop()
}

func (a *asm32) exit(code uint32) { a.trap(abi.Exit, abi.ExitTerminate, code) }

// equal ends the task unless the last comparison found its operands equal.
func (a *asm32) equal() {
	a.checks++
	exit := asm32{}
	exit.exit(a.checks)
	a.bytes(0x74, byte(len(exit.code))) // je
	a.bytes(exit.code...)
}

// stack checks the word so many bytes above ESP.
func (a *asm32) stack(offset int, want uint32) {
	a.bytes(0x81, 0x7c, 0x24, byte(offset)) // cmpl $want, offset(%esp)
	a.word(want)
	a.equal()
}

// memory checks the word at an address.
func (a *asm32) memory(addr, want uint32) {
	a.bytes(0x81, 0x3d) // cmpl $want, addr
	a.word(addr)
	a.word(want)
	a.equal()
}

// register checks a register, numbered as mov has it.
func (a *asm32) register(register byte, want uint32) {
	a.bytes(0x81, 0xf8+register) // cmp $want, register
	a.word(want)
	a.equal()
}

// function puts code aside: it is jumped over, and called by its address.
func (a *asm32) function(body func()) (addr uint32) {
	a.bytes(0xe9) // jmp
	at := len(a.code)
	a.word(0)
	addr = a.here()
	body()
	binary.LittleEndian.PutUint32(a.code[at:], uint32(len(a.code)-at-4))
	return addr
}

// far32 goes from 32-bit code to a code segment, to the next instruction.
func (a *asm32) far32(selector byte) {
	a.bytes(0xea) // ljmp
	a.word(a.here() + 6)
	a.bytes(selector, 0)
}

// far64 goes from 64-bit code to a code segment, to the next instruction.
func (a *asm32) far64(selector byte) {
	a.bytes(0xff, 0x2d, 0, 0, 0, 0) // ljmp *0(%rip)
	a.word(a.here() + 6)
	a.bytes(selector, 0)
}
