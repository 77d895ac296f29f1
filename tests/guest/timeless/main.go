//go:build kapsel_task

// Command timeless may not use the alarm: a wait for the network until a time ends with an error, one without a time when a frame comes.
package main

import "kapsel/guest/task"

//kapsel:permit 0x1 0 1
//kapsel:permit 0x30007 0 1 2 3 4 5 6
//kapsel:heap 65536

func main() {
	network, err := task.OpenEthernet(2)
	if err != nil {
		task.Print("timeless: no network: " + err.Error() + "\n")
		task.Exit(1)
	}
	err = network.Wait(task.Now() + 1_000_000)
	if err == nil {
		task.Print("timeless: the time has come\n")
		task.Exit(1)
	}
	task.Print("timeless: until a time: " + err.Error() + "\n")
	frame, ok := network.Next()
	for ; !ok; frame, ok = network.Next() {
		if err := network.Wait(task.Never); err != nil {
			task.Print("timeless: " + err.Error() + "\n")
			task.Exit(1)
		}
	}
	task.Print("timeless: a frame of " + task.Decimal(uint64(len(frame))) + " bytes\n")
	task.Exit(0)
}
