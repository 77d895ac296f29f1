package main

import (
	"bytes"
	"errors"
	"io"
	"os"
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
		command            keyCommand
	}{
		{"plain", "hello\r\x03\x7f", "hello\r\x03\x7f", keyNone},
		{"nothing", "", "", keyNone},
		{"leave", "ab\x01xcd", "ab", keyLeave},
		{"leave in capitals", "\x01X", "", keyLeave},
		{"help", "ab\x01hcd", "abcd", keyHelp},
		{"help, then leave", "\x01ha\x01x", "a", keyLeave},
		{"the prefix itself", "a\x01\x01b", "a\x01b", keyNone},
		{"the prefix, then x", "\x01\x01x", "\x01x", keyNone},
		{"a key that means nothing", "a\x01zb", "ab", keyNone},
		{"the prefix alone", "a\x01", "a", keyNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			guest, command := new(keys).filter([]byte(test.typed))
			assert.Equal(t, test.guest, string(guest))
			assert.Equal(t, test.command, command)
		})
	}
}

func FuzzKeysFilter(f *testing.F) {
	f.Add([]byte("ab\x01hcd\x01\x01\x01x"), 3)
	f.Fuzz(func(t *testing.T, typed []byte, cut int) {
		if cut < 0 || cut > len(typed) {
			return
		}
		whole, command := new(keys).filter(bytes.Clone(typed))

		var k keys // the same bytes in two reads
		first, command1 := k.filter(bytes.Clone(typed[:cut]))
		var second []byte
		command2 := keyNone
		if command1 != keyLeave {
			second, command2 = k.filter(bytes.Clone(typed[cut:]))
		}
		assert.Equal(t, string(whole), string(first)+string(second))
		assert.Equal(t, command, max(command1, command2)) // keyLeave is above keyHelp
	})
}

func TestKeyReader(t *testing.T) {
	var events []string
	r := newKeyReader(iotest.OneByteReader(bytes.NewReader([]byte("a\x01hb\x01\x01\x01xc"))),
		func() { events = append(events, "leave") },
		func() { events = append(events, "help") })
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "ab\x01", string(got))
	assert.Equal(t, []string{"help", "leave"}, events)
}

func TestKeyReaderPassesErrorsOn(t *testing.T) {
	want := errors.New("broken line")
	_, err := newKeyReader(iotest.ErrReader(want), nil, nil).Read(make([]byte, 8))
	assert.ErrorIs(t, err, want)
}

// TestKeyReaderDoesNotWaitForTheGuest: one that reads nothing keeps nobody from leaving.
func TestKeyReaderDoesNotWaitForTheGuest(t *testing.T) {
	typed := io.MultiReader(bytes.NewReader(bytes.Repeat([]byte("paste"), keptReads*readSize)), bytes.NewReader([]byte("\x01x")))
	left := make(chan struct{})
	r := newKeyReader(typed, func() { close(left) }, nil)
	<-left
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Len(t, got, keptReads*readSize, "what was typed first is kept")
}

// TestHelpDoesNotWait: nor does whoever asks for help on a terminal that shows nothing.
func TestHelpDoesNotWait(t *testing.T) {
	r, w := io.Pipe()
	help := helper(w)
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
	c, err := openConsole(r, out, func() { t.Error("left") })
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
	c, err := openConsole(terminal, newGuestOutput(&out), func() { left <- true })
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
