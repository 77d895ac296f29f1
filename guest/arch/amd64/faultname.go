package amd64

// exceptionNames are the exceptions in words (SDM vol. 3, table 6-1).
var exceptionNames = [vectorLine0]string{
	0:                  "divide error",
	vectorDebug:        "debug exception",
	vectorNMI:          "watchdog: the kernel has not returned to its main loop (NMI)",
	vectorBreakpoint:   "breakpoint",
	vectorOverflow:     "overflow",
	5:                  "BOUND range exceeded",
	vectorInvalidOp:    "invalid instruction",
	7:                  "x87 not available",
	vectorDoubleFault:  "double fault",
	10:                 "invalid TSS",
	11:                 "segment not present",
	12:                 "stack segment fault",
	vectorProtection:   "general protection: privileged instruction, bad selector or non-canonical address",
	vectorPageFault:    "page fault",
	16:                 "x87 floating-point error",
	17:                 "alignment check",
	vectorMachineCheck: "machine check",
	19:                 "SIMD floating-point error",
	20:                 "virtualization exception",
	21:                 "control protection",
}

// Bits of a page fault's error code (SDM vol. 3, 4.7).
const (
	faultPresent = 1 << 0
	faultWrite   = 1 << 1
	faultUser    = 1 << 2
	faultFetch   = 1 << 4
)

// pageFaultNames are the page faults in words, by what was tried and whether a page is there.
var pageFaultNames = [...][2]string{
	tryRead:    {"page fault: read where no page is", "page fault: read of a page that it may not read"},
	tryWrite:   {"page fault: write where no page is", "page fault: write to a page that it may not write"},
	tryExecute: {"page fault: execute where no page is", "page fault: execute of a page that it may not execute"},
}

const (
	tryRead = iota
	tryWrite
	tryExecute
)

// faultName says what an exception is in words.
//
//go:noinline
func faultName(vector uint8, code uint64) string {
	if vector != vectorPageFault {
		if int(vector) < len(exceptionNames) && exceptionNames[vector] != "" {
			return exceptionNames[vector]
		}
		return "reserved exception"
	}
	try := tryRead
	switch {
	case code&faultFetch != 0:
		try = tryExecute
	case code&faultWrite != 0:
		try = tryWrite
	}
	return pageFaultNames[try][code&faultPresent]
}

// aborts reports whether an exception is of the class of aborts: it is the machine's, or that of who set up stacks and tables, whichever
// function it found (SDM vol. 3, 7.5).
func aborts(vector uint64) bool { return vector == vectorDoubleFault || vector == vectorMachineCheck }
