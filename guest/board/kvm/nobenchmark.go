//go:build kapsel_kernel && !kapsel_benchmark

package main

import (
	"kapsel/guest/arch/amd64"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// benchmarking says that this kernel is one to measure (benchmark.go).
const benchmarking = false

// instruments are what measures the kernel from within: here nothing.
type instruments struct{}

func (*instruments) alarmFor(t *amd64.Timer) hil.Alarm             { return t }
func (*instruments) wire(capability.Set) bool                      { return false }
func (*instruments) obey([]byte) bool                              { return false }
func (*instruments) raw() bool                                     { return false }
func (*instruments) wireDisk(hil.BlockDevice, capability.Set) bool { return false }
func (*instruments) wireNetwork(hil.Ethernet, capability.Set) bool { return false }
func (*instruments) clear()                                        {}
func (*instruments) clearRawBlock()                                {}
func (*instruments) clearRawNet()                                  {}
func (*instruments) booted(entered, main, loaded uint64)           {}
