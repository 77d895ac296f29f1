package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
)

// TestControlArguments: what is wrong with the line is said before anything is done.
func TestControlArguments(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, tt := range []struct {
		args   []string
		status int
		said   string
	}{
		{[]string{"load"}, statusUsage, "no --control given: kapsel load --control PATH TASK..., with the path that kapsel run --control has"},
		{[]string{"load", "--control", "x"}, statusUsage, "nothing named: kapsel load --control PATH TASK..."},
		{[]string{"unload", "--control=x"}, statusUsage, "nothing named: kapsel unload --control PATH NAME..."},
		{[]string{"tasks", "--control", "x", "y"}, statusUsage, `unexpected argument "y": kapsel tasks --control PATH`},
		{[]string{"tasks", "--control", "unix:"}, statusUsage, "want unix:PATH, or PATH"},
		{[]string{"pause", "--control", "x"}, statusUsage, "nothing named: kapsel pause --control PATH NAME..."},
		{[]string{"save", "--control", "x", "y"}, statusUsage, "no file named: kapsel save --control PATH NAME FILE"},
		{[]string{"restore", "--control", "x", "y", "z", "w"}, statusUsage, `unexpected argument "w": kapsel restore --control PATH NAME FILE`},
		{[]string{"restore", "--control", "x", "y", "/nowhere"}, statusUsage, "no such file"},
		{[]string{"save", "--control", "/nowhere/socket", "y", "z"}, statusFailed, "no such file or directory: want the path"},
		{[]string{"load", "--control", "x", "/nowhere"}, statusUsage, "no such file"},
		{[]string{"load", "--control", "x", empty}, statusUsage, "found an empty file"},
		{[]string{"tasks", "--control", "/nowhere/socket"}, statusFailed, "no such file or directory: want the path that kapsel run --control has, while its machine runs"},
		{[]string{"tasks", "--control", strings.Repeat("x", 108)}, statusUsage, "a path of 108 bytes: that of a socket has at most 107"},
		{[]string{"run", "--control", "", "image"}, statusUsage, "want unix:PATH, or PATH"},
		{[]string{"run", "--control", "x", "--control", "y", "image"}, statusUsage, "there is a port with the name org.kapsel.load already"},
	} {
		var out, said bytes.Buffer
		assert.Equal(t, tt.status, command(tt.args, stdio{out: &out, err: &said}), "%q", tt.args)
		assert.Contains(t, said.String(), tt.said, "%q", tt.args)
		assert.Empty(t, out.String())
	}
}

// TestRefusal: what the kernel refuses is another failure than that nobody answers.
func TestRefusal(t *testing.T) {
	assert.Equal(t, statusRefused, refusal(fmt.Errorf("there is no task of that name (%w)", abi.NODEVICE)))
	assert.Equal(t, statusFailed, refusal(errors.New("the machine has ended")))
}

// TestPrintable: what a guest calls a task does nothing to the terminal.
func TestPrintable(t *testing.T) {
	assert.Equal(t, "a?[2Jb ?", printable("a\x1b[2Jb \u00e4"))
}

// TestFirstObject: a file of several objects is loaded one by one.
func TestFirstObject(t *testing.T) {
	object := make([]byte, 5000)
	object[0], object[4], object[5] = 2, 0x88, 0x13
	two := append(append(bytes.Clone(object), make([]byte, 3192)...), object...)
	first, rest := firstObject(two)
	assert.Len(t, first, 5000)
	first, rest = firstObject(rest)
	assert.Len(t, first, 5000)
	assert.Empty(t, rest)
}
