package onepage

import (
	"bytes"
	"encoding/binary"

	"kapsel/guest/abi"
	"kapsel/vmm/image"
)

// Guests are written as bytes, an instruction each; join makes them one.

func join(instructions ...[]byte) []byte { return bytes.Join(instructions, nil) }

func imm32(opcode byte, v uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte{opcode}, v)
}

func movEAX(v uint32) []byte { return imm32(0xb8, v) } // mov $v, %eax
func movECX(v uint32) []byte { return imm32(0xb9, v) } // mov $v, %ecx
func movEDX(v uint32) []byte { return imm32(0xba, v) } // mov $v, %edx

// cmpEAX is cmp $v, %eax.
func cmpEAX(v uint32) []byte { return imm32(0x3d, v) }

// jne is jne with a distance in bytes, from the next instruction.
func jne(distance int8) []byte { return []byte{0x75, byte(distance)} }

var (
	ud2      = []byte{0x0f, 0x0b}                         // ud2
	spin     = []byte{0xeb, 0xfe}                         // 1: jmp 1b
	haltLoop = []byte{0xf4, 0xeb, 0xfd}                   // 1: hlt; jmp 1b
	outDXAL  = []byte{0xee}                               // out %al, (%dx)
	outDXAX  = []byte{0x66, 0xef}                         // out %ax, (%dx)
	inALDX   = []byte{0xec}                               // in (%dx), %al
	inEAXDX  = []byte{0xed}                               // in (%dx), %eax
	exitEAX  = []byte{0xe7, abi.PortDebugExit}            // out %eax, $0xf4
	repOUTSB = []byte{0xf3, 0x6e}                         // rep outsb
	rsiRDI   = []byte{0x48, 0x89, 0xfe}                   // mov %rdi, %rsi
	loadEAX  = []byte{0x8b, 0x03}                         // mov (%rbx), %eax
	storeEAX = []byte{0x89, 0x03}                         // mov %eax, (%rbx)
	loadRAX  = []byte{0x48, 0x8b, 0x03}                   // mov (%rbx), %rax
	loadAL   = []byte{0x8a, 0x03}                         // mov (%rbx), %al
	rbxMMIO  = []byte{0x48, 0xc7, 0xc3, 0, 0, 0xe0, 0xbf} // mov $KernelBase + 1 GiB - 2 MiB, %rbx
)

// exit is what ends a guest with a status: 7 bytes.
func exit(status uint32) []byte { return join(movEAX(status), exitEAX) }

// outString writes the n bytes at %rsi to the UART.
func outString(n int) []byte {
	return join(movECX(uint32(n)), movEDX(abi.PortCOM1), repOUTSB)
}

// mapMMIO maps the 2 MiB page at a physical address, uncached, to the last 2 MiB of the GiB at
// KernelBase, where the boot page tables have nothing, and leaves its virtual address in %rbx.
func mapMMIO(physical uint64) []byte { return join(mapAt(511, physical), rbxMMIO) }

// mapAt maps the 2 MiB page at a physical address, uncached, by an entry of KernelBase's page directory.
func mapAt(entry uint32, physical uint64) []byte {
	const present, writable, uncached, large = 1, 2, 0x18, 0x80
	value := physical&^(2<<20-1) | present | writable | uncached | large
	return join(walkToPD,
		binary.LittleEndian.AppendUint64([]byte{0x48, 0xb9}, value),         // movabs $value, %rcx
		binary.LittleEndian.AppendUint32([]byte{0x48, 0x89, 0x88}, entry*8)) // mov %rcx, entry*8(%rax)
}

// walkToPD leaves the physical address of the page directory of KernelBase in %rax.
var walkToPD = []byte{
	0x0f, 0x20, 0xd8, //                    mov %cr3, %rax
	0x48, 0x8b, 0x80, 0xf8, 0x0f, 0, 0, //  mov 511*8(%rax), %rax
	0x25, 0, 0xf0, 0xff, 0xff, //           and $0xfffff000, %eax
	0x48, 0x8b, 0x80, 0xf0, 0x0f, 0, 0, //  mov 510*8(%rax), %rax
	0x25, 0, 0xf0, 0xff, 0xff, //           and $0xfffff000, %eax
}

// entry is the virtual address of a guest's first byte.
const entry = abi.KernelBase + image.FlatAddress
