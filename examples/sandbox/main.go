// Command sandbox has tasks that it does not trust answer the lines of its input, each of a service's name and a request, as if each were the first:
//
//	echo 'greeter greet world' | go run ./examples/sandbox build/bare.elf build/test/greeter.tbf build/test/greeter32.tbf
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"kapsel/sandbox"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: sandbox IMAGE [TASK...]")
	}
	ctx, lines := context.Background(), bufio.NewScanner(os.Stdin)
	var s *sandbox.Sandbox
	nest := func(ctx context.Context, reply, request []byte) ([]byte, error) { // what tasks can call: it calls one of them in turn
		if len(request) == 8 {
			return append(reply, "the bottom"...), nil
		}
		return s.AppendCall(ctx, reply, "greeter", fmt.Appendf(nil, "nest %s.", request))
	}
	config := sandbox.Config{CallTime: time.Second, OutputLimit: 4 << 10, Services: sandbox.Services{"nest": nest}}
	s, err := sandbox.Open(ctx, config, os.Args[1], os.Args[2:]...)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	snapshot, err := s.Snapshot()
	for err == nil && lines.Scan() {
		name, request, _ := strings.Cut(lines.Text(), " ")
		reply, failed := s.Call(ctx, name, []byte(request))
		fmt.Printf("%s: %q, %v\n", lines.Text(), reply, failed)
		err = s.Reset(snapshot)
	}
	if err := errors.Join(err, lines.Err()); err != nil {
		log.Fatal(err)
	}
}
