package vmm

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"kapsel/guest/abi"
	"kapsel/vmm/kvm"
)

// Dump writes the processor's state to w, for a person: after Run has returned, or before.
// During Run it waits for the end.
func (m *Machine) Dump(w io.Writer) {
	var text strings.Builder
	var err error
	if !m.thread.do(func() { err = m.dump(&text) }) {
		err = errClosed
	}
	io.WriteString(w, text.String())
	if err != nil {
		fmt.Fprintf(w, "the processor's state cannot be read: %v\n", err)
	}
}

// dump collects the state, on the machine's thread.
func (m *Machine) dump(w *strings.Builder) error {
	r, err := m.cpu.Regs()
	if err != nil {
		return err
	}
	s, err := m.cpu.Sregs()
	if err != nil {
		return err
	}
	halted, err := m.cpu.Halted()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "The processor is %s in %s, ring %d, interrupts %s.\n",
		choose(halted, "halted", "running"), mode(s), s.SS.DPL, choose(r.RFLAGS&rflagsIF != 0, "on", "off"))
	dumpRegisters(w, r, s)
	fmt.Fprintf(w, "  code at rip  %s\n", m.bytesAt(r.RIP, 16))
	fmt.Fprintf(w, "  stack at rsp %s\n", m.wordsAt(r.RSP, 8))
	m.dumpDevices(w)
	m.dumpCounters(w)
	return nil
}

// Flags register bits (Intel SDM vol. 1, section 3.4.3).
const rflagsIF = 1 << 9

// mode names the processor's operating mode (Intel SDM vol. 3, section 2.2).
func mode(s *kvm.Sregs) string {
	switch {
	case s.CR0&cr0PE == 0:
		return "real mode, as after reset: KVM may reset a processor that shut down"
	case s.EFER&eferLMA == 0:
		return "protected mode"
	case s.CS.L == 0:
		return "compatibility mode"
	}
	return "64-bit mode"
}

func choose(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

func dumpRegisters(w *strings.Builder, r *kvm.Regs, s *kvm.Sregs) {
	row := func(names string, values ...uint64) {
		for i, name := range strings.Fields(names) {
			fmt.Fprintf(w, "  %-3s %016x", name, values[i])
		}
		w.WriteByte('\n')
	}
	row("rax rbx rcx rdx", r.RAX, r.RBX, r.RCX, r.RDX)
	row("rsi rdi rbp rsp", r.RSI, r.RDI, r.RBP, r.RSP)
	row("r8 r9 r10 r11", r.R8, r.R9, r.R10, r.R11)
	row("r12 r13 r14 r15", r.R12, r.R13, r.R14, r.R15)
	row("rip cr2 fs gs", r.RIP, s.CR2, s.FS.Base, s.GS.Base)
	row("gdt idt tss cr8", s.GDT.Base, s.IDT.Base, s.TR.Base, s.CR8)
	fmt.Fprintf(w, "  rflags %x (%s)\n", r.RFLAGS, bitNames(r.RFLAGS, rflagsNames))
	fmt.Fprintf(w, "  cr0 %x (%s)\n", s.CR0, bitNames(s.CR0, cr0Names))
	fmt.Fprintf(w, "  cr3 %x  cr4 %x (%s)\n", s.CR3, s.CR4, bitNames(s.CR4, cr4Names))
	fmt.Fprintf(w, "  efer %x (%s)  cs %#x  ss %#x\n", s.EFER, bitNames(s.EFER, eferNames), s.CS.Selector, s.SS.Selector)
}

// Names of register bits from bit 0 on; "-" has none.
var (
	rflagsNames = strings.Fields("CF - PF - AF - ZF SF TF IF DF OF - - NT - RF VM AC VIF VIP ID")
	cr0Names    = strings.Fields("PE MP EM TS ET NE - - - - - - - - - - WP - AM - - - - - - - - - - NW CD PG")
	cr4Names    = strings.Fields("VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT UMIP LA57 VMXE SMXE - FSGSBASE PCIDE OSXSAVE KL SMEP SMAP PKE CET PKS")
	eferNames   = strings.Fields("SCE - - - - - - - LME - LMA NXE SVME LMSLE FFXSR TCE")
)

func bitNames(value uint64, names []string) string {
	var set []string
	for bit, name := range names {
		if value>>bit&1 != 0 && name != "-" {
			set = append(set, name)
		}
	}
	return strings.Join(set, " ")
}

// read returns up to n bytes at a virtual address, within its page: none if nothing is
// mapped there or it is not RAM.
func (m *Machine) read(virtual uint64, n int) []byte {
	physical, ok, err := m.cpu.Translate(virtual)
	if err != nil || !ok {
		return nil
	}
	return m.memory.at(physical, min(n, int(abi.PageSize-physical%abi.PageSize)))
}

func (m *Machine) bytesAt(virtual uint64, n int) string {
	if b := m.read(virtual, n); len(b) > 0 {
		return fmt.Sprintf("% x", b)
	}
	return "is not readable"
}

func (m *Machine) wordsAt(virtual uint64, n int) string {
	var words []string
	for b := m.read(virtual, 8*n); len(b) >= 8; b = b[8:] {
		words = append(words, fmt.Sprintf("%016x", binary.LittleEndian.Uint64(b)))
	}
	if len(words) == 0 {
		return "is not readable"
	}
	return strings.Join(words, " ")
}

func (m *Machine) dumpCounters(w *strings.Builder) {
	s := m.Stats()
	fmt.Fprintf(w, "Exits: %d port, %d memory, %d end of interrupt, %d other; %d interruptions.\n",
		s.IO, s.MMIO, s.EOI, s.Other, s.Interrupted)
	if s.UnknownPorts+s.UnknownMMIO > 0 {
		fmt.Fprintf(w, "Accesses without a device: %d port, %d memory.\n", s.UnknownPorts, s.UnknownMMIO)
	}
	events := m.history.last()
	if len(events) == 0 {
		return
	}
	fmt.Fprintf(w, "The last %d accesses, the latest at the end:\n", len(events))
	for _, e := range events {
		fmt.Fprintf(w, "  %v\n", e)
	}
}
