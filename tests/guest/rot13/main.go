//go:build kapsel_task

// Command rot13 is a service: it turns the letters that a client lends to it by 13 places.
// When a client lends nothing, it looks at what that lent before, and has to fault.
package main

import "kapsel/guest/task"

func main() {
	own, err := task.Discover("rot13")
	if err != nil {
		task.Print("rot13: not found by itself: " + err.Error() + "\n")
		task.Exit(1)
	}
	var before []byte
	for {
		client, lent := task.WaitForPeer(own)
		if lent == nil {
			task.Print("rot13: looking at what is not lent any more\n")
			task.Print("rot13: it is still there: " + task.Decimal(uint64(before[0])) + "\n")
			task.Exit(2)
		}
		for i, c := range lent {
			lent[i] = turn(c)
		}
		before = lent
		if err := task.NotifyClient(client); err != nil {
			task.Print("rot13: cannot answer: " + err.Error() + "\n")
			task.Exit(3)
		}
	}
}

func turn(c byte) byte {
	switch {
	case c >= 'a' && c <= 'z':
		return 'a' + (c-'a'+13)%26
	case c >= 'A' && c <= 'Z':
		return 'A' + (c-'A'+13)%26
	}
	return c
}
