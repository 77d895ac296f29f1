//go:build kapsel_task

package main

import "unsafe"

func address(p *uint64) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }
