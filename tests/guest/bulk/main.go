//go:build kapsel_task

// Command bulk fills its region of isolated nonvolatile storage, by the 256 KiB, reads it again, and compares checksums.
package main

import "kapsel/guest/task"

//kapsel:storage write=1 read=1 modify=1

var piece [256 << 10]byte

// fill makes the piece's contents, and goes on with the numbers that they are made of.
func fill(state uint64) uint64 {
	for i := 0; i < len(piece); i += 8 {
		state = state*6364136223846793005 + 1442695040888963407
		for j := range 8 {
			piece[i+j] = byte(state >> (8 * j))
		}
	}
	return state
}

// sum adds the piece to a checksum: FNV-1a's over words of 64 bits.
func sum(hash uint64) uint64 {
	for i := 0; i < len(piece); i += 8 {
		b := piece[i : i+8]
		word := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		hash = (hash ^ word) * 0x100_0000_01b3
	}
	return hash
}

// check ends the task if something went wrong.
func check(what string, err error) {
	if err != nil {
		task.Print("bulk: " + what + ": " + err.Error() + "\n")
		task.Exit(1)
	}
}

// tell says how far it is, now and then.
func tell(what string, at uint64) {
	if at%(8<<20) == 0 {
		task.Print("bulk: " + task.Decimal(at>>20) + " MiB " + what + "\n")
	}
}

func main() {
	total, err := task.Isolated.Size()
	check("size", err)
	state, wrote, read := uint64(1), uint64(0), uint64(0)
	for at := uint64(0); at < total; at += uint64(len(piece)) {
		state = fill(state)
		wrote = sum(wrote)
		_, err := task.Isolated.WriteAt(piece[:], at)
		check("write", err)
		tell("written", at)
	}
	task.Print("bulk: wrote " + task.Hex(wrote) + "\n")
	for at := uint64(0); at < total; at += uint64(len(piece)) {
		clear(piece[:])
		_, err := task.Isolated.ReadAt(piece[:], at)
		check("read", err)
		tell("read", at)
		read = sum(read)
	}
	task.Print("bulk: read " + task.Hex(read) + "\n")
	if read != wrote {
		task.Exit(2)
	}
	task.Exit(0)
}
