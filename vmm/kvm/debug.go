package kvm

import (
	"fmt"
	"unsafe"
)

// MaxBreakpoints is how many breakpoints a processor has, one for each of DR0 to DR3.
const MaxBreakpoints = 4

// guestDebug is struct kvm_guest_debug.
type guestDebug struct {
	Control   uint32
	_         uint32
	Registers [8]uint64 // DR0 to DR7
}

// Bits of guestDebug.Control (KVM_GUESTDBG_*).
const (
	debugEnable  = 1 << 0
	debugUseHWBP = 1 << 17
	debugInject  = 1 << 18 // a debug exception for the guest, now
)

// Debug registers (Intel SDM vol. 3, sections 18.2.3 and 18.2.4). Bit n of DR6 names
// breakpoint n as a cause. Bit 2n+1 of DR7 enables it; its type and length, four bits from
// bit 16+4n on, are 0 for an instruction.
const (
	dr7         = 7       // index in guestDebug.Registers
	dr7Reserved = 1 << 10 // always 1
	dr7Enable   = 1 << 1  // G0, for breakpoint 0
)

// VectorDebug is the vector of a debug exception, #DB (Intel SDM vol. 3, table 6-1).
const VectorDebug = 1

// breakpoints is what makes KVM stop before the instructions at up to MaxBreakpoints
// addresses.
func breakpoints(addresses []uint64) (guestDebug, error) {
	d := guestDebug{Control: debugEnable | debugUseHWBP}
	if len(addresses) > MaxBreakpoints {
		return d, fmt.Errorf("%d breakpoints, a processor has %d", len(addresses), MaxBreakpoints)
	}
	d.Registers[dr7] = dr7Reserved
	for n, address := range addresses {
		d.Registers[n] = address
		d.Registers[dr7] |= dr7Enable << (2 * n)
	}
	return d, nil
}

// SetBreakpoints makes Run return with an ExitDebug before the guest executes the
// instruction at any of up to MaxBreakpoints virtual addresses. From then on the guest's
// debug exceptions are an ExitDebug too, and its own debug registers stop nothing.
func (c *VCPU) SetBreakpoints(addresses []uint64) error {
	d, err := breakpoints(addresses)
	if err != nil {
		return err
	}
	c.debug = d
	_, err = c.callPointer(setGuestDebug, unsafe.Pointer(&d))
	return err
}

// InjectDebug gives the guest the debug exception of an ExitDebug, for which no breakpoint
// of SetBreakpoints is the cause. The guest's DR6 does not say what is.
func (c *VCPU) InjectDebug() error {
	d := c.debug
	d.Control |= debugInject
	_, err := c.callPointer(setGuestDebug, unsafe.Pointer(&d))
	return err
}

// Debug is an exception that KVM handed to the monitor (ExitDebug, struct
// kvm_debug_exit_arch). KVM does not always fill in DR7, so it is not here.
type Debug struct {
	Exception uint32 // its vector
	PC        uint64 // virtual address of the instruction
	DR6       uint64 // the cause of a debug exception
}

// Debug returns the debug exception of an ExitDebug.
func (c *VCPU) Debug() Debug { return decodeDebug(c.run) }

func decodeDebug(run []byte) Debug {
	return Debug{
		Exception: little.Uint32(run[offDebugException:]),
		PC:        little.Uint64(run[offDebugPC:]),
		DR6:       little.Uint64(run[offDebugDR6:]),
	}
}

// Breakpoint returns the number of the breakpoint that was reached: the first of the count
// that are set and that DR6 names, for the processor may name others too. It is false if
// there is none: the debug exception has another cause.
func (d Debug) Breakpoint(count int) (number int, ok bool) {
	for n := range min(count, MaxBreakpoints) {
		if d.DR6>>n&1 != 0 {
			return n, true
		}
	}
	return 0, false
}
