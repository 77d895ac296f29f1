package abi

// The memory of a task, as every task sees it (docs/abi.md, section 3).
// Half-open ranges throughout.
const (
	PageSize = 4096

	// FlashStart is where a task's TBF object appears, unless it asks otherwise.
	FlashStart = 0x4000_0000
	// RAMStart is where a task's memory appears, unless it asks otherwise.
	RAMStart = 0x8000_0000
	// UserMin and UserMax bound every address a task may use: nothing below 64 KiB,
	// so that a nil dereference always faults, nothing at or above 2^47.
	UserMin = 64 << 10
	UserMax = 1 << 47
	// UserMax32 bounds the addresses of a 32-bit task.
	UserMax32 = 1 << 32
	// LoanStart and LoanEnd bound the addresses where a task finds what other tasks lend to
	// it: at most LoanSize bytes from each, in the order of their slots.
	LoanStart = LoanEnd - 64*LoanSize
	LoanEnd   = RAMStart
	LoanSize  = 128 << 10
	// InitialRAM is what a 64-bit task finds below its break when it starts, in bytes.
	InitialRAM = 4096
	// InitialRAM32 is the same for a 32-bit task, as on Tock: the call of its init function, and
	// the four words of a system call below it. So small that a program may give its stack and
	// its data any size before it moves ESP.
	InitialRAM32 = 9 * 4
)

// PageDown is the start of the page that n lies in.
func PageDown(n uint64) uint64 { return n &^ (PageSize - 1) }

// PageUp rounds n up to a page. n is at most 2^64 - PageSize.
func PageUp(n uint64) uint64 { return PageDown(n + PageSize - 1) }
