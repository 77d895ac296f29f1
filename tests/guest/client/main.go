//go:build kapsel_task

// Command client has a text turned by the service rot13, twice, and takes its memory back.
package main

import "kapsel/guest/task"

//kapsel:heap 65536

const text = "Uryyb Jbeyq!"

func main() {
	service, err := task.Discover("rot13")
	check("discover", err)
	page := task.Pages(1)
	copy(page, text)

	if err := task.Lend(service, page[:100]); err == nil {
		task.Print("client: a part of a page: " + task.NotifyService(service).Error() + "\n")
	}
	check("lend", task.Lend(service, page))
	for range 2 {
		check("notify", task.NotifyService(service))
		if peer, _ := task.WaitForPeer(service); peer != service {
			task.Print("client: answered by another\n")
		}
		task.Print("client: " + string(page[:len(text)]) + "\n")
	}
	check("take back", task.Lend(service, nil))
	check("notify without memory", task.NotifyService(service))
	task.Exit(0)
}

func check(what string, err error) {
	if err != nil {
		task.Print("client: " + what + ": " + err.Error() + "\n")
		task.Exit(1)
	}
}
