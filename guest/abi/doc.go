// Package abi holds every number and layout that two sides of the system share:
// kernel and tasks (system calls, memory map), monitor and kernel (boot
// information, ports). Both sides import it, so each stands once.
//
// The normative text is docs/abi.md.
package abi
