package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"kapsel/sandbox"
)

// The examples need KVM, an image and tasks, so that they are compiled here, and run by tests/sandbox and examples/sandbox.

func Example() {
	ctx := context.Background()
	s, err := sandbox.Open(ctx, sandbox.Config{
		Services: sandbox.Services{
			"time": func(_ context.Context, reply, _ []byte) ([]byte, error) {
				return time.Now().AppendFormat(reply, time.RFC3339), nil
			},
		},
		CallTime: time.Second,
	}, "build/bare.elf", "build/test/greeter.tbf")
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	reply, err := s.Call(ctx, "greeter", []byte("greet world"))
	fmt.Printf("%s, %v\n", reply, err)
}

func ExampleSandbox_Reset() {
	ctx := context.Background()
	var s *sandbox.Sandbox // New's
	before, err := s.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	_, err = s.Call(ctx, "greeter", []byte("fault"))
	var e *sandbox.Error
	if errors.As(err, &e) && e.Poisoned {
		log.Print(err)
		err = s.Reset(before) // as if there had been no call
	}
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleSnapshot_Save() {
	ctx := context.Background()
	var s *sandbox.Sandbox // New's
	warm, err := s.Snapshot()
	if err == nil {
		err = warm.Save("greeter.snapshot")
	}
	if err != nil {
		log.Fatal(err)
	}
	loaded, err := sandbox.Load("greeter.snapshot", sandbox.Config{CallTime: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	defer loaded.Close()
	other, err := loaded.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()
}

func ExamplePool() {
	ctx := context.Background()
	var warm *sandbox.Snapshot // of a sandbox whose tasks are ready
	pool, err := sandbox.NewPool(warm, sandbox.PoolConfig{Warm: 2, Max: 16})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	serve := func(request []byte) ([]byte, error) {
		s, err := pool.Get(ctx)
		if err != nil {
			return nil, err
		}
		defer func() {
			if err := pool.Put(s); err != nil {
				log.Print(err)
			}
		}()
		return s.Call(ctx, "greeter", request)
	}
	reply, err := serve([]byte("greet world"))
	fmt.Printf("%s, %v\n", reply, err)
}

func ExampleFunc() {
	type Point struct{ X, Y float64 }
	var s *sandbox.Sandbox // New's, with a task "distance" that reads and writes JSON
	distance := sandbox.Func[[2]Point, float64](s, "distance", sandbox.JSON)
	d, err := distance(context.Background(), [2]Point{{0, 0}, {3, 4}})
	fmt.Println(d, err)
}

func ExampleHandlerOf() {
	type Query struct{ Name string }
	services := sandbox.Services{
		"population": sandbox.HandlerOf(sandbox.JSON, func(_ context.Context, q Query) (int, error) {
			return len(q.Name), nil
		}),
	}
	reply, err := services["population"](context.Background(), nil, []byte(`{"Name":"Bern"}`))
	fmt.Printf("%s %v\n", reply, err)
	// Output: 4 <nil>
}
