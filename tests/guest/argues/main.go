//go:build kapsel_task

// Command argues prints the arguments and the environment that it has. With the argument "wait" it then waits until it is asked to end, and ends
// with the code in the variable CODE; with "stay" it says that it was asked, and stays.
package main

import (
	"kapsel/guest/task"
)

func main() {
	args := task.Args()
	for _, a := range args {
		task.Print("argument <" + a + ">\n")
	}
	for _, v := range task.Environ() {
		task.Print("variable <" + v + ">\n")
	}
	if value, ok := task.Getenv("CODE"); ok {
		task.Print("CODE is " + value + "\n")
	}
	if _, ok := task.Getenv("COD"); ok {
		task.Print("COD is there\n")
	}
	task.Print("argues: read\n")
	if len(args) == 0 || args[0] != "wait" && args[0] != "stay" {
		task.Exit(0)
	}
	stays := args[0] == "stay"
	err := task.OnTerminate(func() {
		task.Print("argues: asked to end\n")
		if stays {
			return
		}
		code, _ := task.Getenv("CODE")
		task.Exit(uint32(code[0] - '0'))
	})
	if err != nil {
		task.Print("argues: " + err.Error() + "\n")
	}
	task.Print("argues: waits\n")
	for {
		task.Yield()
	}
}
