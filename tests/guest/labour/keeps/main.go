//go:build kapsel_task

// Command keeps writes to nonvolatile storage and reads it again.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

//kapsel:storage write=1 read=1 modify=1

var buffer [700]byte

func main() {
	labour.Do(24, func(i int) error {
		s := task.Isolated
		if i%2 == 1 {
			s = task.Nonvolatile
		}
		at := uint64(i%5) * 1000
		labour.Fill(buffer[:], i)
		if _, err := s.WriteAt(buffer[:], at); err != nil {
			return err
		}
		clear(buffer[:])
		if _, err := s.ReadAt(buffer[:], at); err != nil {
			return err
		}
		return labour.Same(buffer[:], i)
	})
}
