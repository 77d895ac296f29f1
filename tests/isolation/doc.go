// Package isolation tests what one task can do to another and to the kernel: nothing. It
// boots images with tasks that try.
package isolation
