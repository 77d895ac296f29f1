//go:build kapsel_kernel

// Command dying is a kernel that dies in the way that its command line names, to test how
// the machine layer reports it.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/arch/amd64"
)

var (
	table  [4]int
	absent *[4]int
	code   = [8]byte{0xc3} // RET
)

func main() {
	m := amd64.Boot()
	m.Serial().WriteString("dying: booted\n")
	cmdline := m.Cmdline()
	for _, way := range [...]struct {
		name string
		die  func(n int)
	}{
		{"exit", func(n int) { amd64.Exit(uint32(n)) }},
		{"spin", func(int) {
			for {
			}
		}},
		{"hang", func(int) { hang(m, true, false) }},
		{"hang-on", func(int) { hang(m, true, true) }},
		{"sleep", func(int) { hang(m, false, false) }},
		{"registers", func(int) { tellRegisters(m) }},
		{"panic", func(int) { panic("told to") }},
		{"bounds", func(n int) { table[n]++ }},
		{"slice", func(n int) { table[n&3] = len(table[2:n]) }},
		{"divide", func(n int) { table[0] = n / table[1] }},
		{"nil", func(n int) { absent[n&3]++ }},
		{"overflow", func(n int) { table[0] = deep(n) }},
		{"write-code", func(int) { writeCode() }},
		{"write-constants", func(int) { writeAt(stringAddress(m.Accelerator())) }},
		{"execute-data", func(int) { execute(&code) }},
		{"lose-stack", func(int) { loseStack() }},
		{"touch-zero", func(int) { writeAt(0) }},
		{"touch-image-by-pvh", func(int) { writeAt(abi.DirectMap + 0x200000) }},
		{"touch-image-by-direct-door", func(int) { writeAt(abi.DirectMap + 0x8000) }},
	} {
		if way.name == string(cmdline) {
			way.die(len(cmdline) + 3)
		}
	}
	m.Serial().WriteString("dying: still alive\n")
	amd64.Exit(1)
}

// deep uses up the stack, however deep it is.
//
//go:noinline
func deep(n int) int { return deep(n+1) + 1 }

func writeCode()
func loseStack()
func writeAt(addr uint64)
func stringAddress(s string) uint64
func execute(code *[8]byte)
