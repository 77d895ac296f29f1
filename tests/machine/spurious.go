package machine

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rigVariable is set by tools/vmexec in the machine whose KVM is QEMU's nested SVM.
const rigVariable = "KAPSEL_RIG"

// InRig reports whether the test runs there, where a guest's exit to the monitor takes a fifth of a millisecond.
func InRig() bool { return os.Getenv(rigVariable) != "" }

// Nightly reports whether scripts/nightly runs the test, which may take its time then.
func Nightly() bool { return os.Getenv("KAPSEL_NIGHTLY") != "" }

// TriesInRig is how often a guest is booted there that a spurious interrupt ends each time. One that writes to
// the console beside its first system calls was seen to end so in half of its boots.
const TriesInRig = 10

// doubleFault finds CR2, the function, RSP and RFLAGS in the kernel's panic by a double fault.
var doubleFault = regexp.MustCompile(`(?s)kernel panic: double fault\n` +
	`  vector 8, error code 0x0, address 0x([0-9a-f]+).*?\n` +
	`  kapsel/guest/arch/amd64\.(\w+)\n.*?` +
	`RSP 0x([0-9a-f]{16})\n.*?` +
	`RFL 0x([0-9a-f]{16})`)

// Spurious reports whether the guest was ended by the rig, for nothing that it did.
func (o Outcome) Spurious() bool {
	return endedBySpuriousInterrupt(o.Console) || stoppedBySpuriousInterrupt(o.Dump)
}

// stopped finds RSP, CR2 and the names of RFLAGS in a dump of the processor.
var stopped = regexp.MustCompile(`(?s)  rsp ([0-9a-f]{16})\n.*?  cr2 ([0-9a-f]{16}).*?rflags [0-9a-f]+ \(([A-Z ]*)\)`)

// stoppedBySpuriousInterrupt says the same of a guest that the processor refused to enter again, in the middle of that double fault.
func stoppedBySpuriousInterrupt(dump string) bool {
	m := stopped.FindStringSubmatch(dump)
	if !InRig() || m == nil {
		return false
	}
	rsp, err1 := strconv.ParseUint(m[1], 16, 64)
	cr2, err2 := strconv.ParseUint(m[2], 16, 64)
	return err1 == nil && err2 == nil && cr2 == rsp&^15-8 && !slices.Contains(strings.Fields(m[3]), "IF")
}

// endedBySpuriousInterrupt says whether the guest ended by a fault of QEMU's nested SVM, which no
// processor has. QEMU's helper_vmrun leaves the vector that it injected in exception_index; when
// its main loop stops before the next exit, it delivers that vector again, with IF clear too
// (target/i386/tcg/sysemu/svm_helper.c, accel/tcg/cpu-exec.c; seen in 7.2). Where RSP is the
// task's, that is a double fault: SMAP forbids the push, at 8 below RSP rounded down to 16.
func endedBySpuriousInterrupt(console string) bool {
	const flagIF = 1 << 9
	if !InRig() {
		return false
	}
	m := doubleFault.FindStringSubmatch(console)
	if m == nil || m[2] != "syscallEntry" && m[2] != "switchTo" {
		return false
	}
	cr2, err1 := strconv.ParseUint(m[1], 16, 64)
	rsp, err2 := strconv.ParseUint(m[3], 16, 64)
	flags, err3 := strconv.ParseUint(m[4], 16, 64)
	return err1 == nil && err2 == nil && err3 == nil && flags&flagIF == 0 && cr2 == rsp&^15-8
}
