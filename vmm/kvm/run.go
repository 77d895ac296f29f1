package kvm

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// Reason is why Run returned (KVM_EXIT_*).
type Reason uint32

// Reasons that a guest of this monitor can meet.
const (
	ExitUnknown       Reason = 0
	ExitException     Reason = 1
	ExitIO            Reason = 2
	ExitHypercall     Reason = 3
	ExitDebug         Reason = 4
	ExitHLT           Reason = 5
	ExitMMIO          Reason = 6
	ExitShutdown      Reason = 8
	ExitFailEntry     Reason = 9
	ExitInterrupted   Reason = 10
	ExitInternalError Reason = 17
	ExitSystemEvent   Reason = 24
	ExitEOI           Reason = 26
)

var reasonNames = map[Reason]string{
	ExitUnknown:       "KVM_EXIT_UNKNOWN",
	ExitException:     "KVM_EXIT_EXCEPTION",
	ExitIO:            "KVM_EXIT_IO",
	ExitHypercall:     "KVM_EXIT_HYPERCALL",
	ExitDebug:         "KVM_EXIT_DEBUG",
	ExitHLT:           "KVM_EXIT_HLT",
	ExitMMIO:          "KVM_EXIT_MMIO",
	ExitShutdown:      "KVM_EXIT_SHUTDOWN",
	ExitFailEntry:     "KVM_EXIT_FAIL_ENTRY",
	ExitInterrupted:   "KVM_EXIT_INTR",
	ExitInternalError: "KVM_EXIT_INTERNAL_ERROR",
	ExitSystemEvent:   "KVM_EXIT_SYSTEM_EVENT",
	ExitEOI:           "KVM_EXIT_IOAPIC_EOI",
}

// String returns KVM's name of the reason.
func (r Reason) String() string {
	if name, ok := reasonNames[r]; ok {
		return name
	}
	return fmt.Sprintf("KVM exit reason %d", uint32(r))
}

// runHeader is struct kvm_run up to the union's end: what this package reads of it.
type runHeader struct {
	RequestInterruptWindow uint8
	ImmediateExit          uint8
	_                      [6]byte
	ExitReason             uint32
	_                      [4]byte
	CR8                    uint64
	APICBase               uint64
	Union                  [256]byte
}

// Offsets in kvm_run; a test compares them with the kernel's.
const (
	offReason = unsafe.Offsetof(runHeader{}.ExitReason)
	offUnion  = unsafe.Offsetof(runHeader{}.Union)

	offIODirection = offUnion
	offIOSize      = offUnion + 1
	offIOPort      = offUnion + 2
	offIOCount     = offUnion + 4
	offIOData      = offUnion + 8

	offMMIOAddress = offUnion
	offMMIOData    = offUnion + 8
	offMMIOLength  = offUnion + 16
	offMMIOWrite   = offUnion + 20

	offDebugException = offUnion
	offDebugPC        = offUnion + 8
	offDebugDR6       = offUnion + 16

	offHardwareReason = offUnion
	offFailCPU        = offUnion + 8
	offEOIVector      = offUnion
	offEventType      = offUnion

	offSuberror  = offUnion
	offNData     = offUnion + 4
	offFlags     = offUnion + 8
	offInsnSize  = offUnion + 16
	offInsnBytes = offUnion + 17
)

var little = binary.LittleEndian

// Reason returns why Run returned. It is valid only if Run's error was nil.
func (c *VCPU) Reason() Reason { return Reason(little.Uint32(c.run[offReason:])) }

// IO is an access to an I/O port (ExitIO): Count accesses of Size bytes one after another.
type IO struct {
	Port  uint16
	Size  int    // 1, 2 or 4
	Write bool   // OUT, else IN
	Data  []byte // what is written, or where to put what is read: valid until the next Run
}

// IO returns the port access of an ExitIO. It fails if the structure contradicts itself.
func (c *VCPU) IO() (IO, error) { return decodeIO(c.run) }

func decodeIO(run []byte) (IO, error) {
	io := IO{
		Port:  little.Uint16(run[offIOPort:]),
		Size:  int(run[offIOSize]),
		Write: run[offIODirection] != 0,
	}
	count := uint64(little.Uint32(run[offIOCount:]))
	offset := little.Uint64(run[offIOData:])
	if io.Size != 1 && io.Size != 2 && io.Size != 4 {
		return io, fmt.Errorf("KVM_EXIT_IO with an access of %d bytes", io.Size)
	}
	length := count * uint64(io.Size) // 34 bits at most
	if offset > uint64(len(run)) || length > uint64(len(run))-offset {
		return io, fmt.Errorf("KVM_EXIT_IO with %d bytes at %#x, beyond kvm_run's %d", length, offset, len(run))
	}
	io.Data = run[offset : offset+length : offset+length]
	return io, nil
}

// MMIO is an access to a physical address that is not memory (ExitMMIO).
type MMIO struct {
	Address uint64
	Write   bool
	Data    []byte // 1 to 8 bytes, as in IO
}

// MMIO returns the memory access of an ExitMMIO. It fails if the structure contradicts itself.
func (c *VCPU) MMIO() (MMIO, error) { return decodeMMIO(c.run) }

func decodeMMIO(run []byte) (MMIO, error) {
	m := MMIO{
		Address: little.Uint64(run[offMMIOAddress:]),
		Write:   run[offMMIOWrite] != 0,
	}
	length := little.Uint32(run[offMMIOLength:])
	if length < 1 || length > 8 {
		return m, fmt.Errorf("KVM_EXIT_MMIO with an access of %d bytes", length)
	}
	end := offMMIOData + uintptr(length)
	m.Data = run[offMMIOData:end:end]
	return m, nil
}

// EOIVector returns the vector whose interrupt the guest ended, of an ExitEOI.
func (c *VCPU) EOIVector() uint8 { return c.run[offEOIVector] }

// Failure returns in words why KVM cannot go on, for every reason that carries an explanation.
func (c *VCPU) Failure() string { return failure(c.Reason(), c.run) }

func failure(r Reason, run []byte) string {
	switch r {
	case ExitUnknown:
		return fmt.Sprintf("%v: hardware exit reason %#x", r, little.Uint64(run[offHardwareReason:]))
	case ExitFailEntry:
		return fmt.Sprintf("%v: the processor refused to enter the guest: hardware reason %#x, on processor %d",
			r, little.Uint64(run[offHardwareReason:]), little.Uint32(run[offFailCPU:]))
	case ExitDebug:
		d := decodeDebug(run)
		return fmt.Sprintf("%v of exception %d at %#x, DR6 %#x", r, d.Exception, d.PC, d.DR6)
	case ExitInternalError:
		return fmt.Sprintf("%v: %s", r, internalError(run))
	case ExitSystemEvent:
		return fmt.Sprintf("%v of type %d", r, little.Uint32(run[offEventType:]))
	}
	return r.String()
}

// Suberrors of an internal error (KVM_INTERNAL_ERROR_*).
var suberrors = map[uint32]string{
	1: "an instruction that KVM has to emulate and cannot",
	2: "two exceptions at once",
	3: "an exit while an event was being delivered",
	4: "an exit of an unknown kind",
}

func internalError(run []byte) string {
	suberror := little.Uint32(run[offSuberror:])
	text, ok := suberrors[suberror]
	if !ok {
		text = fmt.Sprintf("suberror %d", suberror)
	}
	// KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES: the instruction follows.
	if suberror == 1 && little.Uint32(run[offNData:]) >= 3 && little.Uint64(run[offFlags:])&1 != 0 {
		if size := run[offInsnSize]; size <= 15 {
			text += fmt.Sprintf(": instruction bytes % x", run[offInsnBytes:offInsnBytes+uintptr(size)])
		}
	}
	return text
}
