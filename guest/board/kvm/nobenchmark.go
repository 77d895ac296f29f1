//go:build kapsel_kernel && !kapsel_benchmark

package main

import (
	"kapsel/guest/arch/amd64"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// benchmarking says that this kernel is one to measure (benchmark.go).
const benchmarking = false

// instruments are what measures the kernel from within: here nothing.
type instruments struct{}

func (*instruments) alarmFor(t *amd64.Timer) hil.Alarm                             { return t }
func (*instruments) wire(*kernel.Kernel, *amd64.Machine, capability.Set)           {}
func (*instruments) obey([]byte) bool                                              { return false }
func (*instruments) wireDisk(*kernel.Kernel, hil.BlockDevice, capability.Set) bool { return false }
func (*instruments) wireNetwork(*kernel.Kernel, hil.Ethernet, capability.Set) bool { return false }
func (*instruments) booted(entered, main, loaded uint64)                           {}
