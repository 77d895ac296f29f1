//go:build kapsel_kernel && kapsel_faulty

package main

import (
	"kapsel/guest/capsules/faulty"
	"kapsel/guest/capsules/faultymux"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// tested is what fails, for tests.
var tested struct {
	mux    faultymux.Mux
	driver faulty.Faulty
}

func wireFaultyMux(capability.Set) bool {
	tested.mux.Init(&system.kernel)
	return true
}

func wireFaulty(can capability.Set) bool {
	tested.driver.Init(&system.kernel, &tested.mux, can.MemoryAllocation)
	return true
}

func clearFaultyMux() { tested.mux = faultymux.Mux{} }
func clearFaulty()    { tested.driver = faulty.Faulty{} }

// obeyTest obeys a word of the command line that only this board has: with it capsules may fail often. It reports whether it was one.
func obeyTest(text []byte) bool {
	if string(text) != "capsules=often" {
		return false
	}
	system.components.SetPolicy(kernel.RestartCapsule, 1000)
	return true
}
