//go:build kapsel_task

// Command installer loads copies of itself and unloads them, and says how it went. Where the machine keeps data for tasks it reads the copies from there,
// where it has put one first.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/copies"
)

// The copies get ShortIDs of their own, behind this one.
//
//kapsel:shortid 0x1000
//kapsel:storage write=1 read=1 modify=1
//kapsel:permit 0x0 0 1 2 5
//kapsel:permit 0x1 0 1
//kapsel:permit 0x10001 0 1 2 3 4 5 6
//kapsel:permit 0x10002 0 1 2 4 5 6
//kapsel:permit 0x50001 0 1 2 3
const shortID = 0x1000

const (
	loads       = 64
	fromStorage = 8 // loads in the place of these
)

// dirt is what a copy leaves in its memory.
const dirt = 0xee

var (
	pids [3]uint32
	page [4096]byte
)

func say(what string, err error) {
	if err != nil {
		what += ": " + err.Error()
	}
	task.Print("installer: " + what + "\n")
}

// live is what a copy does: it makes its memory dirty, and waits.
func live() {
	for range 4 {
		b := make([]byte, 1000)
		for i := range b {
			if b[i] != 0 {
				say("memory is not clean", nil)
				task.Exit(1)
			}
			b[i] = dirt
		}
	}
	for {
		task.Yield()
	}
}

// loadAndUnload loads a copy, looks whether it lives, and unloads it.
func loadAndUnload(id, size uint32, read func(b []byte, offset uint32) error) error {
	if err := task.LoadTask(size, copies.Source(id, read)); err != nil {
		return err
	}
	task.Sleep(1)
	n, err := task.Tasks(pids[:])
	if err != nil {
		return err
	}
	if n != 2 {
		return abi.FAIL
	}
	for {
		s, err := task.Status(pids[1])
		if err != nil || s.State > task.TaskYielded {
			return abi.FAIL
		}
		if s.State == task.TaskYielded {
			break
		}
		task.Sleep(1)
	}
	return task.UnloadTask(id)
}

// store writes an object to the task's storage, from memory that it may share: a header is not.
func store(all []byte) {
	for at := 0; at < len(all); {
		n := copy(page[:], all[at:])
		if _, err := task.Nonvolatile.WriteAt(page[:n], uint64(at)); err != nil {
			say("store", err)
			task.Exit(3)
		}
		at += n
	}
}

func main() {
	n, err := task.Tasks(pids[:])
	if err != nil {
		say("look at tasks", err)
		task.Exit(2)
	}
	if n > 1 {
		live()
	}
	all := copies.Object()
	size := uint32(len(all))
	times := uint32(loads)
	read := copies.Own
	if _, err := task.Nonvolatile.Size(); err == nil {
		store(all)
		read = func(b []byte, offset uint32) error {
			_, err := task.Nonvolatile.ReadAt(b, uint64(offset))
			return err
		}
		say("reads from storage", nil)
		times = fromStorage
	}
	name, err := task.TaskName(pids[0])
	say("is called "+name, err)
	say("itself again", task.LoadTask(size, copies.Source(shortID, read)))
	damaged := func(b []byte, offset uint32) error {
		err := read(b, offset)
		if offset == 0 {
			b[20] ^= 1
		}
		return err
	}
	say("damaged", task.LoadTask(size, damaged))
	for i := range times {
		if err := loadAndUnload(shortID+1+i, size, read); err != nil {
			say("load "+task.Decimal(uint64(i)), err)
			task.Exit(4)
		}
	}
	say("done", nil)
	task.Exit(0)
}
