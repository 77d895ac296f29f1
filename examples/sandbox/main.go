// Command sandbox calls two tasks that it does not trust, each call as if it were the first. The tasks, one in Go and one in C, are those of scripts/build and scripts/test:
//
//	go run ./examples/sandbox build 10000
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"time"

	"kapsel/sandbox"
	"kapsel/vmm/image"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: sandbox DIRECTORY CALLS")
	}
	dir, calls, ctx := os.Args[1], must(strconv.Atoi(os.Args[2])), context.Background()
	var s *sandbox.Sandbox
	s = must(sandbox.New(ctx, sandbox.Config{
		Image:       must(image.Open(ctx, dir+"/bare.elf")),
		Tasks:       [][]byte{must(os.ReadFile(dir + "/test/greeter.tbf")), must(os.ReadFile(dir + "/test/greeter32.tbf"))},
		CallTime:    time.Second,
		OutputLimit: 4 << 10,
		Services: sandbox.Services{"nest": func(ctx context.Context, reply, request []byte) ([]byte, error) { // 8 deep
			if len(request) == 8 {
				return append(reply, "the bottom"...), nil
			}
			return s.AppendCall(ctx, reply, "greeter", fmt.Appendf(nil, "nest %s.", request))
		}},
	}))
	defer s.Close()
	snapshot := must(s.Snapshot())
	requests := append(slices.Repeat([]string{"greet world"}, calls), "spin", "fault", "exhaust", "flood", "much", "nest .", "exit")
	for _, name := range []string{"greeter", "greeter32"} {
		outcomes := map[string]int{}
		for _, request := range requests {
			reply, err := s.Call(ctx, name, []byte(request))
			outcomes[fmt.Sprintf("%s: %q, %v", request, reply, err)]++
			must(0, s.Reset(snapshot))
		}
		for outcome, times := range outcomes {
			fmt.Printf("%s, %d times: %s\n", name, times, outcome)
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
