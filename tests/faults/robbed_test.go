package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/guest/labour"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/ethernet/network"
	"kapsel/vmm/peripheral"
)

// rob gives a machine devices, and takes them away when its ADC is asked for one sample more than it has: all ports are closed, and under QEMU the network's
// link goes down and the disk becomes too small for what is stored on it.
func rob(t *testing.T, g *machine.Guest) {
	robbed := make(chan struct{})
	held := holder{robbed, t.Context().Done()}
	steal := func() error { return nil }
	if machine.Accelerator(t) == "qemu" {
		steal = operator(t, g)
	}
	adc := &frail{ADC: converter(t), left: 1 + labour.Samples, lose: sync.OnceFunc(func() {
		if err := steal(); err != nil {
			t.Log(err) // as where the machine has ended
		}
		close(robbed)
	})}
	g.Devices = []vmm.Device{disk(t), vmm.Entropy{}, vmm.Network{Connection: network.Config{User: true}}, vmm.Ports{
		{Name: abi.PortADC, Input: adc, Output: adc},
		{Name: abi.PortDAC, Input: held},
		{Name: abi.PortBuzzer, Input: held},
		{Name: abi.PortScreen, Input: held},
		{Name: abi.PortLoad, Input: held},
		{Name: abi.PortService, Input: held},
		{Name: abi.PortEnd, Input: held},
	}}
}

// A holder holds a port open until one of its channels is closed, and sends nothing.
type holder [2]<-chan struct{}

// Read waits for that.
func (h holder) Read([]byte) (int, error) {
	select {
	case <-h[0]:
	case <-h[1]:
	}
	return 0, io.EOF
}

// A frail ADC answers so many lines. At the next one it calls lose, and answers no more.
type frail struct {
	*peripheral.ADC
	left int
	lose func()
}

// Write takes what the machine asks.
func (f *frail) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if f.left == 0 {
			f.lose()
			return len(p), f.ADC.Close()
		}
		if bytes.HasSuffix(line, []byte{'\n'}) {
			f.left--
		}
		f.ADC.Write(line)
	}
	return len(p), nil
}

// operator gives QEMU another monitor, and returns what changes devices by that.
func operator(t *testing.T, g *machine.Guest) (change func() error) {
	dir, err := os.MkdirTemp("", "faults") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "monitor")
	g.Options = []string{"-chardev", "socket,id=operator,server=on,wait=off,path=" + path, "-mon", "chardev=operator,mode=control"}
	return func() error {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		defer conn.Close()
		answers := json.NewDecoder(conn)
		for _, command := range []string{
			`{"execute": "qmp_capabilities"}`,
			`{"execute": "set_link", "arguments": {"name": "net2", "up": false}}`,
			`{"execute": "block_resize", "arguments": {"node-name": "image0", "size": 4096}}`,
		} {
			if _, err := io.WriteString(conn, command); err != nil {
				return err
			}
			if err := answered(answers); err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
		}
		return nil
	}
}

// answered waits until a command is answered, behind a greeting and events.
func answered(answers *json.Decoder) error {
	for {
		var answer struct {
			Return json.RawMessage
			Error  struct{ Desc string }
		}
		switch err := answers.Decode(&answer); {
		case err != nil:
			return err
		case answer.Error.Desc != "":
			return errors.New(answer.Error.Desc)
		case answer.Return != nil:
			return nil
		}
	}
}
