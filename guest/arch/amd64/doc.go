// Package amd64 is the machine layer: the part of the kernel that knows the CPU. It is
// trusted code; assembly and unsafe live here.
//
// It takes the machine over from a monitor by one of two doors (entry_amd64.s), makes the
// final page tables (paging.go), loads descriptors and system call registers
// (descriptors.go), and then serves the kernel as its kernel.CPU (cpu.go): it runs tasks
// until they trap (trap_amd64.s), keeps time and interrupts (apic.go, clock.go), and
// dies in an orderly way (panic.go).
//
// Section numbers are those of the Intel Software Developer's Manual (SDM) and the AMD64
// Architecture Programmer's Manual (APM).
package amd64
