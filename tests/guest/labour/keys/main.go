//go:build kapsel_task

// Command keys stores values by the key-value store and gets them again.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

//kapsel:storage write=2 read=2 modify=2

var value, found [200]byte

func main() {
	names := [...]string{"one", "two", "three"}
	labour.Do(24, func(i int) error {
		key := names[i%len(names)]
		labour.Fill(value[:], i)
		if err := task.SetValue(key, value[:]); err != nil {
			return err
		}
		clear(found[:])
		n, err := task.GetValue(key, found[:])
		if err != nil {
			return err
		}
		if n != len(value) {
			return labour.ErrWrong
		}
		return labour.Same(found[:], i)
	})
}
