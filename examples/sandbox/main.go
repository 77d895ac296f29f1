// Command sandbox runs tasks that it does not trust, and calls each. Its arguments are an image, and objects of tasks that serve under their package names:
//
//	go run ./examples/sandbox build/test/bare.elf build/test/greeter.tbf build/test/greeter32.tbf
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"kapsel/guest/kernel/tbf"
	"kapsel/sandbox"
	"kapsel/vmm/image"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, files []string, out io.Writer) error {
	if len(files) < 2 {
		return fmt.Errorf("%d arguments: want an image and tasks", len(files))
	}
	img, err := image.Open(ctx, files[0])
	if err != nil {
		return err
	}
	config := sandbox.Config{Image: img, Services: sandbox.Services{"time": now}, CallTime: time.Second}
	var names []string
	for _, file := range files[1:] {
		object, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		task, refusal := tbf.Parse(object)
		if !refusal.OK() {
			return fmt.Errorf("%q is no task", file)
		}
		config.Tasks, names = append(config.Tasks, object), append(names, string(task.Name()))
	}
	s, err := sandbox.New(ctx, config)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, name := range names {
		reply, err := s.Call(ctx, name, []byte("greet "+name))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %s\n", name, reply)
	}
	return nil
}

// now is a service of the host's: what time it is.
func now(_ context.Context, reply, _ []byte) ([]byte, error) {
	return time.Now().AppendFormat(reply, time.RFC3339), nil
}
