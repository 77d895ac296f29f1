// Package kernel is the kernel proper: tasks, system calls, grants, scheduling. It knows
// no device and no CPU: it reaches the machine through CPU, drivers through Platform and
// Driver, and all three are wired by the board. The normative text of what tasks see is
// docs/abi.md.
//
// # One thread of control
//
// Ring 0 runs with interrupts off, to completion, on one CPU. The main loop (Run) serves
// interrupts, then deferred calls, and only then runs a task; each is done before the
// next begins, so nothing here is locked. A capsule that is called may call the kernel
// and other capsules' HIL methods, but calls no client back from within the client's call.
//
// # Memory
//
// There is no heap. The kernel, its tasks' records and its capsules are static. What a
// capsule keeps for a task lies in the task's own RAM, in a Grant. Task memory is reached
// only through Memory, in ranges checked to the byte, and never by user address.
//
// # Wiring a board
//
// The board declares everything as package-level variables, so that the linker lays it
// out, and then calls in this order:
//
//  1. capability.Mint, once;
//  2. Kernel.Init with a Config;
//  3. Init of each capsule, the lines and clocks before their users: grants and deferred
//     calls are made here; Kernel.AddDriver for each that tasks may call;
//  4. Kernel.Load with all places that hold task objects;
//  5. Kernel.Run, which returns when no task can run again, Kernel.RunForever, or
//     Kernel.RunTelling, where somebody wants to know when there is nothing to do;
//  6. Drain of what still holds text, Kernel.PrintTasks, Kernel.ExitStatus.
//
// Its Platform hands each interrupt line to the driver of the device behind it. Text that the
// kernel printed by then waits in the debug writer; in a panic the board drains it the same way
// before it prints. The example shows a whole board.
package kernel
