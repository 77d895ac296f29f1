package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/gpio"
)

// played has a board with such options, connected to nothing, light LED 1 and press button 0. It returns what the command says at the
// end.
func played(t *testing.T, o gpioOptions, std *bytes.Buffer) error {
	t.Helper()
	o.board = gpio.NewBoard(boardLEDs, boardButtons, boardPins)
	closeGPIO, err := o.open(t.Context(), stdio{err: std, outputs: &outputs{}})
	require.NoError(t, err)
	o.board.Connect(func(int, bool) {})
	o.board.Output(1, true)
	o.press()(0)
	o.press()(0)
	o.press()(8) // there is none
	return closeGPIO()
}

func TestGPIOLines(t *testing.T) {
	var std bytes.Buffer
	require.NoError(t, played(t, gpioOptions{}, &std))
	assert.Equal(t, "gpio: led 1 on\ngpio: button 0 pressed\ngpio: button 0 released\n", std.String())
}

// TestGPIOJSON: an object for each change, in a file or on standard error.
func TestGPIOJSON(t *testing.T) {
	var std bytes.Buffer
	require.NoError(t, played(t, gpioOptions{json: "-"}, &std))
	path := filepath.Join(t.TempDir(), "changes")
	var none bytes.Buffer
	require.NoError(t, played(t, gpioOptions{json: path}, &none))
	assert.Empty(t, none.String())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, text := range [][]byte{std.Bytes(), content} {
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		require.Len(t, lines, 3)
		for i, want := range []string{`"line":"led 1","level":"on","by":"guest"`, `"line":"button 0","level":"pressed","by":"outside"`,
			`"line":"button 0","level":"released","by":"outside"`} {
			var seconds struct{ Seconds *float64 }
			require.NoError(t, json.Unmarshal(lines[i], &seconds))
			assert.GreaterOrEqual(t, *seconds.Seconds, 0.0)
			assert.Contains(t, string(lines[i]), want)
		}
	}
}

// TestGPIOJSONThatIsLost: a file that cannot be written is said at the end.
func TestGPIOJSONThatIsLost(t *testing.T) {
	err := played(t, gpioOptions{json: "/dev/full"}, new(bytes.Buffer))
	assert.ErrorContains(t, err, "no space left on device")
}

// TestGPIOScript: what the script does is seen, and where it stands when the machine ends.
func TestGPIOScript(t *testing.T) {
	var std bytes.Buffer
	script := file(t, "script", []byte("wait led 1 on\npin 7 high\nwait led 0 on\n"))
	err := played(t, gpioOptions{script: script}, &std)
	assert.EqualError(t, err, `the machine ended before its script, at line 3, "wait led 0 on"`)
	assert.Contains(t, std.String(), "gpio: led 1 on\ngpio: pin 7 high\n")
}

// TestUnusableGPIO: what cannot be read or written is said in one line before there is a machine.
func TestUnusableGPIO(t *testing.T) {
	for _, test := range []struct{ name, words, want string }{
		{"no script", "script=/nowhere/script", `--gpio script=/nowhere/script: "/nowhere/script": no such file`},
		{"a script that is none", "script=" + file(t, "script", []byte("button 9 press")), `line 1: there is no button "9": want button 0 to button 3`},
		{"no folder for changes", "json=/nowhere/changes", "--gpio json=/nowhere/changes: "},
		{"a folder for changes", "json=/", `--gpio json=/: "/": want a file or a terminal`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd, stdout, stderr := kapsel(t, "run", "--accel", "kvm", imageFile(t, codeSpin), "--gpio="+test.words)
			cmd.Run()
			assert.Equal(t, statusUsage, cmd.ProcessState.ExitCode())
			assert.Empty(t, stdout.String())
			assertOneLine(t, stderr.String(), test.want)
		})
	}
}

// TestRefusedRunLeavesFiles: a command line that is refused, whichever flag is wrong, has emptied no file and made none.
func TestRefusedRunLeavesFiles(t *testing.T) {
	values := file(t, "values", []byte("kept"))
	for _, wrong := range [][]string{
		{"--gpio=json=" + values + ",script=/nowhere/script"},
		{"--gpio=json=" + values, "--port", "last,in=/nowhere/in"},
		{"--gpio=json=/nowhere/changes"},
		{"--port", "a,out=" + values, "--screen", "/nowhere/screen"},
	} {
		fresh := filepath.Join(t.TempDir(), "fresh")
		cmd, _, _ := kapsel(t, append([]string{"run", "--accel", "kvm", imageFile(t, codeSpin), "--dac", fresh, "--port", "b,out=" + values}, wrong...)...)
		cmd.Run()
		assert.NotZero(t, cmd.ProcessState.ExitCode())
		text, err := os.ReadFile(values)
		require.NoError(t, err)
		assert.Equal(t, "kept", string(text), wrong)
		assert.NoFileExists(t, fresh, wrong)
	}
}

// TestGPIONeedsKVM: QEMU has such a device only by another program, and that is said.
func TestGPIONeedsKVM(t *testing.T) {
	if err := qemuMissing(); err != nil {
		t.Skip(err)
	}
	cmd, stdout, stderr := kapsel(t, "run", "--accel", "qemu", "--gpio", imageFile(t, codeSpin))
	cmd.Run()
	assert.Equal(t, statusUsage, cmd.ProcessState.ExitCode())
	assert.Empty(t, stdout.String())
	assertOneLine(t, stderr.String(), "gpio: there is no such device under QEMU: use KVM")
}

// TestButtonsOnATerminal: Ctrl-A and a digit are for a button.
func TestButtonsOnATerminal(t *testing.T) {
	user, terminal := openTerminal(t)
	pressed := make(chan int)
	out := newGuestOutput(&bytes.Buffer{})
	c, err := openConsole(terminal, out, func() {}, func(button int) { pressed <- button })
	require.NoError(t, err)
	defer c.restore()
	user.Write([]byte("a\x011\x014b\x01x"))
	got, err := io.ReadAll(c.in)
	require.NoError(t, err, "Ctrl-A x leaves, though nobody has taken a press")
	assert.Equal(t, "ab", string(got))
	assert.Equal(t, []int{0, 3}, []int{<-pressed, <-pressed})
}
