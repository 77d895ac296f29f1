// Package gpio boots the image with a board of LEDs, buttons and pins, which tasks of both sizes of words use while a script moves it.
package gpio

import (
	_ "embed"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/gpio"
)

//go:embed testdata/lights32.bin
var lights32 []byte

// tasks are the one of 64 bits and the one of 32.
func tasks(t *testing.T) [][]byte {
	const header = 0x80
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "lights32", Binary: lights32, BinaryOffset: header, MinimumRAM: 0x8000,
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x15_0000 + header, RAM: 0x21_0000},
	})
	require.NoError(t, err)
	return [][]byte{machine.Object(t, "test/lights.tbf"), object}
}

// boot boots both tasks, and asserts that each found all as it should be.
func boot(t *testing.T, devices ...vmm.Device) machine.Outcome {
	t.Helper()
	o := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: tasks(t), Devices: devices})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit,
		"another code is the number of the check of tests/guest/lights that failed, or the line of testdata/lights32/main.c")
	return o
}

// script moves the board for the task of 64 bits, then for the one of 32.
const script = `
wait led 0 on
button 0 press
button 0 release
wait led 0 off
button 0 press
wait led 1 on
button 0 release
button 1 press
wait pin 0 high
pin 1 high
wait pin 0 low
pin 1 low
pin 2 high

wait led 2 on
button 2 press
button 2 release
wait led 2 off
button 2 press
button 3 press
wait pin 4 high
pin 5 high
pin 5 low
wait pin 4 low
pin 6 high
wait pin 4 high
pin 6 low
`

// TestBoard: LEDs, buttons and pins of the monitor's, from tasks of both sizes of words, which share them. Nothing waits for a time.
func TestBoard(t *testing.T) {
	if machine.Accelerator(t) == "qemu" {
		t.Skip("QEMU has a GPIO device only by another program")
	}
	board := gpio.NewBoard(4, 4, 8)
	var mu sync.Mutex
	seen := map[string][]string{}
	board.Watch(func(c gpio.Change) {
		mu.Lock()
		defer mu.Unlock()
		seen[c.Line.String()] = append(seen[c.Line.String()], c.Level())
	})
	s, err := board.Parse(script)
	require.NoError(t, err)
	board.Play(s)
	o := boot(t, vmm.GPIO{Board: board})
	assert.Contains(t, o.Console, "lights: all is right\n")
	assert.Empty(t, board.Left())
	mu.Lock()
	defer mu.Unlock()
	for line, want := range map[string][]string{
		"led 0": {"on", "off"}, "led 1": {"on"}, "led 2": {"on", "off"}, "pin 0": {"high", "low"}, "button 0": {"pressed", "released", "pressed", "released"},
	} {
		assert.Equal(t, want, seen[line], line)
	}
	require.GreaterOrEqual(t, len(seen["pin 4"]), 3)
	assert.Equal(t, []string{"high", "low", "high"}, seen["pin 4"][:3])
}

// TestNoBoard: without a GPIO device the drivers are not there, for tasks of both sizes of words.
func TestNoBoard(t *testing.T) {
	o := boot(t)
	assert.Contains(t, o.Console, "lights: there are no LEDs, buttons and pins\n")
}
