// Package kerneltest runs the kernel on the host: a fake CPU whose tasks are Go
// functions, with page tables that are checked on every access, a clock that moves only
// when something happens, an alarm and a serial line. Nothing in it is random or timed.
package kerneltest
