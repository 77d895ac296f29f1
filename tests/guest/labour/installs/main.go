//go:build kapsel_task

// Command installs loads copies of itself, which end at once, and unloads them.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/copies"
	"kapsel/tests/guest/labour"
)

// The copies get ShortIDs of their own, behind this one.
//
//kapsel:shortid 0x2000
const shortID = 0x2000

func main() {
	if copies.ShortID() != shortID {
		task.Exit(labour.Right)
	}
	size := uint32(len(copies.Object()))
	labour.Do(4, func(i int) error {
		id := shortID + 1 + uint32(i)
		if err := task.LoadTask(size, copies.Source(id, copies.Own)); err != nil {
			return err
		}
		err := task.UnloadTask(id)
		if err == abi.INVAL { // it was loaded
			return labour.ErrWrong
		}
		return err
	})
}
