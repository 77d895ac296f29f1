package abi

// Vector32 is the interrupt vector of a 32-bit task's system calls, Tock's on x86.
const Vector32 = 0x40

// Class is a system call class: the number in the low 8 bits of RAX at the trap.
type Class uint8

// System call classes (Tock TRD104, section 4).
const (
	Yield                  Class = 0
	Subscribe              Class = 1
	Command                Class = 2
	AllowReadWrite         Class = 3
	AllowReadOnly          Class = 4
	Memop                  Class = 5
	Exit                   Class = 6
	AllowUserspaceReadable Class = 7
)

// Yield kinds: the first word of class Yield.
const (
	YieldNoWait  = 0
	YieldWait    = 1
	YieldWaitFor = 2
)

// Exit kinds: the first word of class Exit.
const (
	ExitTerminate = 0
	ExitRestart   = 1
)

// Memop operations: the first word of class Memop.
const (
	MemopBrk          = 0
	MemopSbrk         = 1
	MemopRAMStart     = 2
	MemopRAMEnd       = 3
	MemopFlashStart   = 4
	MemopFlashEnd     = 5
	MemopGrantStart   = 6
	MemopFlashRegions = 7
	MemopRegionStart  = 8
	MemopRegionEnd    = 9
	MemopSetStackTop  = 10
	MemopSetHeapStart = 11
	MemopSetFSBase    = 12 // 64-bit tasks only
	MemopSetGSBase    = 13 // 64-bit tasks only
)

// Variant is the first word of every result but Yield's: which payload follows.
type Variant uint8

// Result variants. Failures are below 128 and carry an ErrorCode in the second word.
const (
	Failure           Variant = 0
	FailureU32        Variant = 1
	Failure2U32       Variant = 2
	FailureU64        Variant = 3
	FailureFnUserdata Variant = 4 // Subscribe: the pair that was passed
	FailureAddrLen    Variant = 5 // Allow: the pair that was passed
	Success           Variant = 128
	SuccessU32        Variant = 129
	Success2U32       Variant = 130
	SuccessU64        Variant = 131
	Success3U32       Variant = 132
	SuccessU32U64     Variant = 133
	SuccessFnUserdata Variant = 134 // Subscribe: the pair that was replaced
	SuccessAddrLen    Variant = 135 // Allow: the pair that was replaced
	SuccessPointer    Variant = 136
	SuccessAddress    Variant = 137 // Memop 2 to 6, 8, 9 and the old break of sbrk
)

// ErrorCode says why a call failed: 1 to 13 from the kernel (TRD104, section 3.3).
// OK is not a failure; as an upcall argument it is the status of success.
type ErrorCode uint32

// Error codes.
const (
	OK          ErrorCode = 0
	FAIL        ErrorCode = 1  // failed for no more specific reason
	BUSY        ErrorCode = 2  // try again later
	ALREADY     ErrorCode = 3  // the state asked for is the state there is
	OFF         ErrorCode = 4  // the device is powered down
	RESERVE     ErrorCode = 5  // a reservation is needed first
	INVAL       ErrorCode = 6  // an argument is invalid
	SIZE        ErrorCode = 7  // a size is too large or too small
	CANCEL      ErrorCode = 8  // the operation was cancelled
	NOMEM       ErrorCode = 9  // not enough memory
	NOSUPPORT   ErrorCode = 10 // the operation is not supported
	NODEVICE    ErrorCode = 11 // there is no such driver
	UNINSTALLED ErrorCode = 12 // the device is not there
	NOACK       ErrorCode = 13 // a packet was not acknowledged
)

var errorNames = [...]string{
	OK: "OK", FAIL: "FAIL", BUSY: "BUSY", ALREADY: "ALREADY", OFF: "OFF", RESERVE: "RESERVE",
	INVAL: "INVAL", SIZE: "SIZE", CANCEL: "CANCEL", NOMEM: "NOMEM", NOSUPPORT: "NOSUPPORT",
	NODEVICE: "NODEVICE", UNINSTALLED: "UNINSTALLED", NOACK: "NOACK",
}

// Error returns the code's name in Tock's spelling.
func (e ErrorCode) Error() string {
	if int(e) < len(errorNames) && errorNames[e] != "" {
		return errorNames[e]
	}
	return "unknown error code"
}

// Status is the code as an upcall argument: 0 is success, else the error code.
func (e ErrorCode) Status() uint32 { return uint32(e) }
