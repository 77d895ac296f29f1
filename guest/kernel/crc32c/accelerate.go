package crc32c

// accelerated is set where the processor has the instruction.
var accelerated bool

// Accelerate has Add and Sum use the processor's CRC32 instruction from now on. The processor has it: it says so by CPUID leaf 1, ECX bit 20
// (SSE4.2).
func Accelerate() { accelerated = true }

// update is Add by the CRC32 instruction, without the complements.
//
//go:noescape
func update(sum uint32, data []byte) uint32
