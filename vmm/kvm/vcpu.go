package kvm

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// VCPU is a virtual processor. All calls but Kick come from the thread that created it.
type VCPU struct {
	handle
	run      []byte     // struct kvm_run, shared with the host's kernel
	pid, tid int        // the thread
	debug    guestDebug // as SetBreakpoints left it
	word     uint64     // what an attribute's address points to
}

// Close unmaps kvm_run and closes the processor. Calling it again does nothing; no call
// may be under way or follow, Kick included.
func (c *VCPU) Close() error {
	if c.run == nil {
		return nil
	}
	err := unix.Munmap(c.run)
	c.run = nil
	return errors.Join(err, closeFD(&c.fd, "processor"))
}

// ErrInterrupted is Run's answer when a signal or a Kick ended it. It is not a guest's
// exit: the exit reason is not valid.
var ErrInterrupted = errors.New("KVM_RUN was interrupted")

// Run runs the guest until it exits; Reason and the exit structures then say why. It first
// completes the port or memory access of the exit before.
func (c *VCPU) Run() error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(c.fd), uintptr(runVCPU), 0)
	switch errno {
	case 0:
		return nil
	case syscall.EINTR, syscall.EAGAIN:
		return ErrInterrupted
	}
	return &Error{runVCPU.String(), errno}
}

// immediateExit is the byte immediate_exit within the first word of kvm_run.
const immediateExit = 1 << 8

// Kick makes Run return ErrInterrupted, now and until Resume. It may be called from any
// thread while the processor is open. The byte is set first, the signal sent second: a thread outside the
// host's kernel meets the byte at its next entry, one inside it meets the signal. SIGURG
// is the signal that the Go runtime sends itself and expects at any time.
func (c *VCPU) Kick() error {
	atomic.OrUint32((*uint32)(unsafe.Pointer(&c.run[0])), immediateExit)
	if err := unix.Tgkill(c.pid, c.tid, unix.SIGURG); err != nil {
		return fmt.Errorf("signalling the processor's thread: %w", err)
	}
	return nil
}

// Resume lets Run run the guest again after a Kick.
func (c *VCPU) Resume() {
	atomic.AndUint32((*uint32)(unsafe.Pointer(&c.run[0])), ^uint32(immediateExit))
}

// NMI sends the processor a non-maskable interrupt, which it takes at the next Run.
func (c *VCPU) NMI() error {
	_, err := c.call(injectNMI, 0)
	return err
}

// Complete finishes the port or memory access of the last exit without running the guest
// any further, so that the registers are those after the instruction. It reports true if that is an
// exit again, as for the rest of an access in several pieces. A Kick before it is lost.
func (c *VCPU) Complete() (exit bool, err error) {
	atomic.OrUint32((*uint32)(unsafe.Pointer(&c.run[0])), immediateExit)
	defer c.Resume()
	if err := c.Run(); err != ErrInterrupted {
		return err == nil, err
	}
	return false, nil
}

// SetCPUID sets what the guest's CPUID instruction answers. Call it before SetSregs: KVM
// checks control registers against it.
func (c *VCPU) SetCPUID(entries []CPUIDEntry) error {
	if len(entries) > maxCPUID {
		return fmt.Errorf("%d CPUID leaves, %d are possible", len(entries), maxCPUID)
	}
	t := &cpuidTable{Count: uint32(len(entries))}
	copy(t.Entries[:], entries)
	_, err := c.callPointer(setCPUID2, unsafe.Pointer(t))
	return err
}

// SetMSR sets a model-specific register of the guest's. It reports false if KVM refuses the register
// or the value. Call it behind SetCPUID.
func (c *VCPU) SetMSR(index uint32, value uint64) (bool, error) {
	n, err := c.callPointer(setMSRs, unsafe.Pointer(&msrTable{Count: 1, Entries: [maxMSRs]MSR{{Index: index, Data: value}}}))
	return n == 1, err
}

// Regs returns the general registers.
func (c *VCPU) Regs() (*Regs, error) {
	r := new(Regs)
	_, err := c.callPointer(getRegs, unsafe.Pointer(r))
	return r, err
}

// SetRegs sets the general registers.
func (c *VCPU) SetRegs(r *Regs) error {
	_, err := c.callPointer(setRegs, unsafe.Pointer(r))
	return err
}

// Sregs returns the segment, control and descriptor-table registers.
func (c *VCPU) Sregs() (*Sregs, error) {
	s := new(Sregs)
	_, err := c.callPointer(getSregs, unsafe.Pointer(s))
	return s, err
}

// SetSregs sets the segment, control and descriptor-table registers.
func (c *VCPU) SetSregs(s *Sregs) error {
	_, err := c.callPointer(setSregs, unsafe.Pointer(s))
	return err
}

// TSCKHz returns the frequency of the guest's time-stamp counter in kHz.
func (c *VCPU) TSCKHz() (int, error) { return c.call(getTSCKHz, 0) }

// mpHalted is the state of a processor that waits in HLT (KVM_MP_STATE_HALTED).
const mpHalted = 3

// Halted reports whether the processor waits in HLT for an interrupt.
func (c *VCPU) Halted() (bool, error) {
	state, err := c.MPState()
	return state == mpHalted, err
}

// Translate returns the physical address of a virtual one by the guest's page tables, and
// whether it is mapped.
func (c *VCPU) Translate(virtual uint64) (physical uint64, ok bool, err error) {
	t := &Translation{LinearAddress: virtual}
	_, err = c.callPointer(translate, unsafe.Pointer(t))
	return t.PhysicalAddress, t.Valid != 0, err
}
