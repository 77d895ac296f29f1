package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestKeysFilter(t *testing.T) {
	for _, test := range []struct {
		name, typed, guest string
		commands           []keyCommand
	}{
		{"plain", "hello\r\x03\x7f", "hello\r\x03\x7f", nil},
		{"nothing", "", "", nil},
		{"leave", "ab\x01xcd", "ab", []keyCommand{keyLeave}},
		{"leave in capitals", "\x01X", "", []keyCommand{keyLeave}},
		{"help", "ab\x01hcd", "abcd", []keyCommand{keyHelp}},
		{"help, then leave", "\x01ha\x01x", "a", []keyCommand{keyHelp, keyLeave}},
		{"buttons", "1\x011\x019\x0112\x010", "12", []keyCommand{keyButton, keyButton + 8, keyButton}},
		{"the prefix itself", "a\x01\x01b", "a\x01b", nil},
		{"the prefix, then x", "\x01\x01x", "\x01x", nil},
		{"a key that means nothing", "a\x01zb", "ab", nil},
		{"the prefix alone", "a\x01", "a", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			guest, commands := filtered(new(keys), test.typed)
			assert.Equal(t, test.guest, guest)
			assert.Equal(t, test.commands, commands)
		})
	}
}

// filtered is what is for the guest of what is typed, and the commands.
func filtered(k *keys, typed string) (guest string, commands []keyCommand) {
	p := k.filter([]byte(typed), func(c keyCommand) { commands = append(commands, c) })
	return string(p), commands
}

func FuzzKeysFilter(f *testing.F) {
	f.Add("ab\x01hcd\x01\x01\x01x", 3)
	f.Fuzz(func(t *testing.T, typed string, cut int) {
		if cut < 0 || cut > len(typed) {
			return
		}
		whole, commands := filtered(new(keys), typed)

		var k keys // the same bytes in two reads
		first, commands1 := filtered(&k, typed[:cut])
		var second string
		var commands2 []keyCommand
		if !slices.Contains(commands1, keyLeave) {
			second, commands2 = filtered(&k, typed[cut:])
		}
		assert.Equal(t, whole, first+second)
		assert.Equal(t, commands, append(commands1, commands2...))
	})
}

func TestKeyReader(t *testing.T) {
	var events []string
	r := newKeyReader(iotest.OneByteReader(bytes.NewReader([]byte("a\x01hb\x012\x01\x01\x01xc"))),
		func() { events = append(events, "leave") },
		func() { events = append(events, "help") },
		func(button int) { events = append(events, "button "+strconv.Itoa(button)) })
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "ab\x01", string(got))
	assert.Equal(t, []string{"help", "button 1", "leave"}, events)
}

func TestKeyReaderPassesErrorsOn(t *testing.T) {
	want := errors.New("broken line")
	_, err := newKeyReader(iotest.ErrReader(want), nil, nil, nil).Read(make([]byte, 8))
	assert.ErrorIs(t, err, want)
}

// TestKeyReaderDoesNotWaitForTheGuest: one that reads nothing keeps nobody from leaving.
func TestKeyReaderDoesNotWaitForTheGuest(t *testing.T) {
	typed := io.MultiReader(bytes.NewReader(bytes.Repeat([]byte("paste"), keptReads*readSize)), bytes.NewReader([]byte("\x01x")))
	left := make(chan struct{})
	r := newKeyReader(typed, func() { close(left) }, nil, nil)
	<-left
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Len(t, got, keptReads*readSize, "what was typed first is kept")
}

// TestHelpDoesNotWait: nor does whoever asks for help on a terminal that shows nothing.
func TestHelpDoesNotWait(t *testing.T) {
	r, w := io.Pipe()
	help := helper(w, keyHelpText)
	for range 10 {
		help()
	}
	shown := make([]byte, len(keyHelpText))
	_, err := io.ReadFull(r, shown)
	require.NoError(t, err)
	assert.Equal(t, keyHelpText, string(shown))
	r.Close()
}

func TestConsoleWithoutTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	out := newGuestOutput(io.Discard)
	c, err := openConsole(r, out, func() { t.Error("left") }, nil)
	require.NoError(t, err)
	defer c.restore()
	w.Write([]byte("a\x01xb")) // no keys of ours: not a person typing
	w.Close()
	read := make(chan bool)
	var got []byte
	go func() {
		got, err = io.ReadAll(c.in)
		close(read)
	}()
	select {
	case <-read:
		t.Error("input was read before the guest had printed")
	default:
	}
	out.Write([]byte("Kapsel"))
	<-read
	require.NoError(t, err)
	assert.Equal(t, "a\x01xb", string(got))
}

func TestConsoleOnTerminal(t *testing.T) {
	user, terminal := openTerminal(t)
	before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	require.NoError(t, err)
	left := make(chan bool, 1)
	var out bytes.Buffer
	c, err := openConsole(terminal, newGuestOutput(&out), func() { left <- true }, nil)
	require.NoError(t, err)

	user.Write([]byte("a\x03\r\x01x"))
	got, err := io.ReadAll(c.in)
	require.NoError(t, err)
	assert.Equal(t, "a\x03\r", string(got), "Ctrl-C and Return reach the guest as they are")
	assert.True(t, <-left)
	assert.Empty(t, out.String(), "no echo")

	c.restore()
	after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

// openTerminal makes a pseudo terminal: the user's end and the program's.
func openTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { user.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { program.Close() })
	return user, program
}
