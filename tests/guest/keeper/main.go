//go:build kapsel_task

// Command keeper counts its lives in both of its regions of nonvolatile storage, and says what it found there. Tests give its object
// other storage permissions.
package main

import "kapsel/guest/task"

//kapsel:storage write=1 read=1 modify=1

// places are where the numbers are: at the start, and across the border of the first page.
var places = [...]uint64{0, 4093}

// count reads a region's numbers, which are one, and stores the next.
func count(name string, s task.Storage) bool {
	size, err := s.Size()
	if err != nil {
		task.Print("keeper: " + name + ": size: " + err.Error() + "\n")
		return false
	}
	var lives uint64
	for i, at := range places {
		var b [8]byte
		if _, err := s.ReadAt(b[:], at); err != nil {
			task.Print("keeper: " + name + ": read: " + err.Error() + "\n")
			return false
		}
		found := uint64(0)
		for j := range b {
			found |= uint64(b[j]) << (8 * j)
		}
		if i != 0 && found != lives {
			task.Print("keeper: " + name + ": torn\n")
			return false
		}
		lives = found
	}
	task.Print("keeper: " + name + ": " + task.Decimal(size) + " bytes, found " + task.Decimal(lives) + "\n")
	for _, at := range places {
		var b [8]byte
		for j := range b {
			b[j] = byte((lives + 1) >> (8 * j))
		}
		if _, err := s.WriteAt(b[:], at); err != nil {
			task.Print("keeper: " + name + ": write: " + err.Error() + "\n")
			return false
		}
	}
	return true
}

func main() {
	shared := count("nonvolatile", task.Nonvolatile)
	if !count("isolated", task.Isolated) || !shared {
		task.Exit(1)
	}
	task.Exit(0)
}
