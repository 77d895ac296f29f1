//go:build kapsel_task

// Command installs loads copies of itself, which end at once, and unloads them. It also tries to load what there is no room for.
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
		if task.LoadTask(1<<31, copies.Source(0, copies.Own)) == nil {
			return labour.ErrWrong
		}
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
