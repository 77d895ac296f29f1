//go:build kapsel_kernel

package main

import (
	"kapsel/guest/arch/amd64"
	"kapsel/guest/kernel/format"
)

// registerNames are the registers that readRegisters reads.
var registerNames = [...]string{
	"LDTR", "TR", "GDT limit", "IDT limit", "CR0", "CR4", "DR7", "EFER", "STAR", "FMASK", "SYSENTER_CS",
}

var registers [len(registerNames)]uint64

// tellRegisters prints what the processor's system registers hold behind Boot.
func tellRegisters(m *amd64.Machine) {
	readRegisters(&registers)
	for i, name := range registerNames {
		m.Serial().WriteString(name)
		format.Print(m.Serial(), ": 0x%x\n", registers[i])
	}
}

func readRegisters(to *[len(registerNames)]uint64)
