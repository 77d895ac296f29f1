//go:build kapsel_task

// Command flashes writes to its flash and reads it.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

//kapsel:flash 4096

var buffer [600]byte

func main() {
	flash := task.Flash()
	labour.Do(20, func(i int) error {
		labour.Fill(buffer[:], i)
		if err := task.WriteFlash(flash[i:], buffer[:]); err != nil {
			return err
		}
		return labour.Same(flash[i:i+len(buffer)], i)
	})
}
