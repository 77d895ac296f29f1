//go:build kapsel_task

// Command argues prints the arguments and the environment that it has. With the argument "wait" it then waits until it is asked to end, and ends
// with the code in the variable CODE; with "stay" it says that it was asked, and stays; with "twice" it spins for half a second before it says for good what
// is to be done then.
//
//kapsel:heap 262144
package main

import "kapsel/guest/task"

func main() {
	args := task.Args()
	for _, a := range args {
		show("argument", a)
	}
	for _, v := range task.Environ() {
		show("variable", v)
	}
	if _, ok := task.Getenv("COD"); !ok {
		task.Print("argues: COD is not there\n")
	}
	task.Print("argues: read\n")
	if len(args) == 0 || args[0] != "wait" && args[0] != "stay" && args[0] != "twice" {
		task.Exit(0)
	}
	stays := args[0] == "stay"
	if args[0] == "twice" {
		task.OnTerminate(func() { task.Print("argues: told the one before\n") })
		task.Print("argues: spins\n")
		for until := task.Now() + 500_000; task.Now() < until; {
		}
	}
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

// show prints a string, of a long one only that its letters behind the first two are all the same.
func show(what, text string) {
	if len(text) > 1000 {
		for i := 2; i < len(text); i++ {
			if text[i] != text[2] {
				task.Print(what + " that is wrong\n")
				return
			}
		}
		text = "many " + text[2:3]
	}
	task.Print(what + " <" + text + ">\n")
}
