//go:build kapsel_kernel && !kapsel_inject

package main

import "kapsel/guest/kernel"

// injection makes capsules fail (injected.go): here none.
type injection struct{}

func (*injection) obey([]byte) bool    { return false }
func (*injection) asked() bool         { return false }
func (*injection) start()              {}
func (*injection) print(kernel.Writer) {}
