//go:build kapsel_kernel && !kapsel_faulty

package main

import "kapsel/guest/kernel/capability"

func wireFaultyMux(capability.Set) bool { return false }
func wireFaulty(capability.Set) bool    { return false }
func clearFaultyMux()                   {}
func clearFaulty()                      {}
func obeyTest([]byte) bool              { return false }
