// Package dma is the door from drivers to memory that a device reads and writes by itself. A driver gets pieces of a Region,
// which only the board makes, holding a capability, of memory that is nobody else's: no byte of it is a task's or the kernel's.
//
// A Buffer is the driver's or the device's, never both's: while it is lent every access of the driver's is refused, and
// counted. What is in it is copied in and out; no slice of it is given away, as Go cannot take one back. Shared is memory
// that both sides use at once, by loads and stores of fixed widths.
package dma
