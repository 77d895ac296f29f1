//go:build kapsel

package amd64

import "kapsel/guest/abi"

// What Go cannot say. Host tests have stand-ins for all of it (processor_host.go).

// Single instructions, and loops that wait, in instructions_amd64.s. All are privileged or pointless in ring 3.

func outb(port uint16, v byte)
func outl(port uint16, v uint32)

// Registers of the 8250 UART on COM1, the bit that says that it takes a byte, and how often it is asked for
// that before it gets the byte all the same.
const (
	uartData       = abi.PortCOM1
	uartLineStatus = abi.PortCOM1 + 5
	uartEmpty      = 1 << 5
	serialPatience = 100_000
)

// sendString and sendChars wait for COM1 before each serialBurst of bytes. sendChars sends the n lowest bytes of chars, the lowest first.

//go:noescape
func sendString(s string)

//go:noescape
func sendChars(chars *uint64, n int)

func rdmsr(msr uint32) uint64
func wrmsr(msr uint32, v uint64)
func cpuid(leaf, subleaf uint32) (a, b, c, d uint32)

func readCR2() uint64
func writeCR0(v uint64)
func writeCR3(v uint64)
func writeCR4(v uint64)
func writeDR7(v uint64)

//go:noescape
func lgdt(p *tablePointer)

//go:noescape
func lidt(p *tablePointer)

func ltr(selector uint16)
func lldt(selector uint16)

// halt stops the CPU with interrupts off.
func halt()

// load32 and store32 access a device register: once, in order, 4 bytes wide, by one instruction, as they are not inlined.

//go:noinline
//go:nosplit
func load32(addr uintptr) uint32 { return *pointer[uint32](uint64(addr)) }

//go:noinline
//go:nosplit
func store32(addr uintptr, v uint32) { *pointer[uint32](uint64(addr)) = v }

// Into tasks and out of them, in trap_amd64.s.

var (
	kernelSP  uint64 // the kernel's stack while a task runs
	syscallSP uint64 // scratch: the task's stack pointer during entry

	x87Operand uint32 // 0, for exchange

	// uncleared is all ones if ring 3 and sleep may begin without VERW, else 0.
	uncleared        = ^uint64(0)
	writeableSegment = uint16(kernelData) // VERW's operand
)

// switchTo runs the task whose context is running until it traps. It reports whether that was for
// a system call, which the kernel has served: the task cannot go on at once behind it.
//
// Precondition: RSP0, the address space, the segments and the x87 state are
// the task's (exchange); its rip is canonical and in the low half.
func switchTo() (served bool)

// idle sleeps until an interrupt, unless one waits in pending.
func idle()

// resume goes on behind a return of a function that was running, with those results, and zeros in what else can be one. It does not return.
//
// Precondition: the stack from to.sp on, and to.fp, are as that function's caller left them.
func resume(to *resumption)

// poll takes the interrupts that wait.
func poll()

// exchange keeps what the processor holds of the running task, and loads what it is to hold of the
// one whose context is to, which becomes the running one:
// CR3, RSP0, x87 state and MXCSR, the selectors DS, ES, FS, GS, the bases of FS and GS. Of vector
// and x87 state it leaves alone what the entry code has saved already, and what switchTo will load.
//
// In between it makes the x87's last instruction and operand the kernel's: some of AMD's
// processors neither save nor restore them unless an exception waits, so that a task could
// read where another computed last (CVE-2006-1056). Likewise it replaces all entries of the return
// stack, 32 at most, which predict the returns of the task.
func exchange(to *context, cr3 uint64)

// loadSegments reloads CS from the descriptor table and clears the others.
func loadSegments()

func trapStubsAddress() uint64
func syscallEntryAddress() uint64
func compatSyscallEntryAddress() uint64
