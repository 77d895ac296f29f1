// Command vmexec runs a static Linux program as the only job of a small virtual
// machine: Linux under QEMU's TCG with nested SVM, so that /dev/kvm works inside
// wherever QEMU does. It is made for go test:
//
//	CGO_ENABLED=0 go test -exec "$PWD/build/vmexec" ./vmm
//
// and serves any other static program as well:
//
//	build/vmexec -add build/kapsel.elf build/kapsel run build/kapsel.elf --accel kvm
//
// Everything the program needs appears in the machine at the path it has on the
// host: the program itself, its working directory, the folder testdata in there,
// and every -add. Variables GO*, KAPSEL_* and VMEXEC_* are passed on. Files that
// go test asks for (-coverprofile, -cpuprofile, ...) and the -out folder come back.
//
// vmexec ends with the program's exit status, with 128+n if signal n ended it, and
// with 125 if the machine failed; then the machine's console is shown.
//
// The same binary is the machine's init: it looks at its process number.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

// statusFailed is vmexec's exit status when the machine, not the program, failed.
const statusFailed = 125

func main() {
	if os.Getpid() == 1 {
		guestMain()
		return
	}
	os.Exit(hostMain(os.Args[1:]))
}

// hostMain runs vmexec on the host and returns its exit status.
func hostMain(args []string) int {
	o, err := parseOptions(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmexec:", err)
		return statusFailed
	}
	status, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmexec:", err)
	}
	return status
}
