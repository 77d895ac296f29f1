// Command plain is an ordinary program for Linux that does what the task tests/guest/passenger does: what runs beside Kapsel's containers, by runc. Without arguments
// it is a pod's pause container.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	verb := "wait"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	switch verb {
	case "tell":
		fmt.Printf("arguments: %s\nCARGO is %s\n", strings.Join(os.Args[2:], " "), os.Getenv("CARGO"))
	case "exit":
		status, err := strconv.Atoi(os.Args[2])
		if err != nil {
			panic(err)
		}
		os.Exit(status)
	case "copy":
		fmt.Println("copying")
		for lines := bufio.NewScanner(os.Stdin); lines.Scan() && lines.Text() != "end"; {
			fmt.Printf("[%s]\n", lines.Text())
		}
	case "wait":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		fmt.Println("waiting")
		<-asked
		fmt.Println("asked to end")
	}
}
