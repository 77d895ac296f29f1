//go:build kapsel_task

// Command dice asks for random bytes, a few and then many, and prints what it got, or why it did not.
package main

import "kapsel/guest/task"

func main() {
	var b [2000]byte
	for _, n := range []int{16, 16, len(b)} {
		if err := task.Random(b[:n]); err != nil {
			task.Print("dice: " + err.Error() + "\n")
			task.Exit(1)
		}
		text := "dice: "
		for _, v := range b[:16] {
			text += task.Hex(uint64(v)) + " "
		}
		task.Print(text + "of " + task.Decimal(uint64(n)) + "\n")
	}
	var values [256]bool
	different := uint64(0)
	for _, v := range b {
		if !values[v] {
			values[v] = true
			different++
		}
	}
	task.Print("dice: " + task.Decimal(different) + " different values in 2000 bytes\n")
	task.Exit(0)
}
