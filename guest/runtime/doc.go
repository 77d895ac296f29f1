//go:build kapsel

// Package runtime stands in for Go's package runtime under the kernel and under
// tasks: what the compiler and the linker ask for, and no more. There is no
// collector, no scheduler, no map; in the kernel there is no allocator either, so
// that code which needs one does not link.
//
// tools/mkimage puts these files in the place of GOROOT/src/runtime with
// go build -overlay. Nothing imports the package, and without the tag "kapsel" it
// has no files. The kernel's build adds the tag kapsel_kernel, a task's kapsel_task.
//
// The program above gives two functions: under the link name kapsel.die one that takes a
// panic's message, and under kapsel.boundsCode one that knows package functab's table.
package runtime
