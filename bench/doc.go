// Package bench is what "kapsel bench" knows of measurements: it reads what a benchmark
// image prints, makes figures of it, and writes them as Go benchmark format, JSON, tables and
// plots; it compares two files, and a run with the counts that the repository keeps.
//
// It boots nothing. A Console takes what the guest prints, Results makes figures of it and
// of the monitor's marks, a Run is what a file holds.
//
// # What a benchmark image prints
//
//	bench-boot entered X main Y loaded Z
//	bench-boot first-task T
//	bench NAME OPS unit=ticks [base=none] V*C V*C ...
//	bench NAME skipped: REASON
//	bench done
//
// X, Y, Z and T are the time-stamp counter at the kernel's first instruction, in its main
// function, when all tasks are loaded, and at the first task's first instruction. A bench
// line is a path of the kernel: OPS operations lie between the two marks that the guest
// sets (abi.PortMark), and C of the measurements took V ticks. The line may go on in others
// with the same NAME and OPS, straight behind it. Each path has one pair of marks, in the
// order of the lines. An image that measures devices tells nothing of booting. All other lines are somebody else's.
//
// Measuring takes time itself. The path Empty measures nothing, and its median is taken
// off every other path, Empty32's off those of 32-bit tasks, whose names end in 32. A path
// with base=none stays as it is, and so do the two themselves.
package bench
