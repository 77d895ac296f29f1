//go:build kapsel_task

// Command disk tries a block device by the raw driver, as many requests at once as that takes: it reads what is there, writes
// the whole disk, reads it again, and prints checksums of both, and what came of every other request.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

const (
	driver   = abi.DriverRawBlock
	piece    = abi.RawBlockPiece
	requests = abi.RawBlockRequests
	sector   = 512
)

var (
	in, out [requests * piece]byte
	upcall  = task.Upcall{F: done}
	ended   int // requests, since they were last waited for
	failed  error
)

// done is told of the end of a request.
func done(status, _, _ uint32) {
	ended++
	if e := abi.ErrorCode(status); e != abi.OK {
		failed = e
	}
}

// command is one request, and its end.
func command(number, a0, a1 uint32) error {
	ended, failed = 0, nil
	if err := begin(number, a0, a1); err != nil {
		return err
	}
	return end(1)
}

func begin(number, a0, a1 uint32) error { return task.Command(driver, number, a0, a1).Err() }

// end waits until so many requests have ended, and returns the error of one that failed.
func end(n int) error {
	for ended < n {
		task.Yield()
	}
	return failed
}

// all makes a request for each piece of the disk, and calls each with what is in memory of those that go on at once.
func all(number uint32, sectors uint64, each func(pieces int)) error {
	const step = piece / sector
	for at := uint64(0); at+step <= sectors; {
		n := 0
		if number == abi.RawBlockWrite {
			each(requests)
		}
		ended, failed = 0, nil
		for ; n < requests && at+step <= sectors; n++ {
			if err := begin(number, uint32(at), uint32(n)); err != nil {
				return err
			}
			at += step
		}
		if err := end(n); err != nil {
			return err
		}
		if number == abi.RawBlockRead {
			each(n)
		}
	}
	return nil
}

// sum adds bytes to a checksum: FNV-1a's.
func sum(hash uint64, b []byte) uint64 {
	for _, v := range b {
		hash = (hash ^ uint64(v)) * 0x100_0000_01b3
	}
	return hash
}

const sumOfNothing = 0xcbf2_9ce4_8422_2325

// read prints the checksum of the disk.
func read(sectors uint64) error {
	hash := uint64(sumOfNothing)
	err := all(abi.RawBlockRead, sectors, func(n int) { hash = sum(hash, in[:n*piece]) })
	if err == nil {
		task.Print("disk: read " + task.Hex(hash) + "\n")
	}
	return err
}

// write writes the disk full of numbers, and prints what the checksum of that is.
func write(sectors uint64) error {
	hash, state := uint64(sumOfNothing), uint64(1)
	left := sectors * sector
	err := all(abi.RawBlockWrite, sectors, func(n int) {
		for i := range out[:n*piece] {
			state = state*6364136223846793005 + 1442695040888963407
			out[i] = byte(state >> 56)
		}
		n = int(min(left, uint64(n*piece)))
		hash = sum(hash, out[:n])
		left -= uint64(n)
	})
	if err == nil {
		task.Print("disk: wrote " + task.Hex(hash) + "\n")
	}
	return err
}

// say prints what came of something.
func say(what string, err error) {
	if err != nil {
		task.Print("disk: " + what + ": " + err.Error() + "\n")
		return
	}
	task.Print("disk: " + what + " done\n")
}

func main() {
	r := task.Command(driver, abi.RawBlockSectors, 0, 0)
	if err := r.Err(); err != nil {
		say("no disk", err)
		task.Exit(1)
	}
	sectors := r.Words[0]
	task.Print("disk: " + task.Decimal(sectors) + " sectors\n")
	task.Subscribe(driver, 0, &upcall)
	task.Allow(driver, 0, in[:])
	task.AllowReadOnly(driver, 0, out[:])
	say("identify", command(abi.RawBlockIdentify, 0, 0))
	name := 0
	for name < 20 && in[name] != 0 {
		name++
	}
	task.Print("disk: name " + string(in[:name]) + "\n")
	say("read", read(sectors))
	say("write", write(sectors))
	say("flush", command(abi.RawBlockFlush, 0, 0))
	say("read", read(sectors))
	say("zeroes", command(abi.RawBlockZero, 8, 8))
	say("discard", command(abi.RawBlockDiscard, 16, 8))
	say("read behind the end", command(abi.RawBlockRead, uint32(sectors), 0))
	task.Exit(0)
}
