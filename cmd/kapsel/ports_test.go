package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm"
)

func TestParsePortErrors(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--port|", `a port with the name ""`},
		{"--port|a b,out=f", `a port with the name "a b"`},
		{"--port|a", "want NAME,in=FILE,out=FILE, or one of both, or NAME,unix=PATH"},
		{"--port|a,out", `found "out"`},
		{"--port|a,out=", `found "out="`},
		{"--port|a,to=f", `found "to=f"`},
		{"--port|a,in=f,in=g", `found "in=g"`},
		{"--port|a,in=f,unix=g", "or NAME,unix=PATH"},
		{"--port|a,out=f|--port|a,in=g", "--port a,in=g: there is a port with the name a already"},
		{"--adc|f|--port|adc,unix=g", "there is a port with the name adc already"},
		{"--dac|", `--dac "": want FILE`},
		{"--screen|", `--screen "": want FILE`},
		{"--buzzer=no", "want --buzzer alone"},
		{"--buzzer|--buzzer", "there is a port with the name buzzer already"},
		{"--port|a,out=f|--port|b,out=f|--port|c,out=f|--port|d,out=f|--port|e,out=f|--port|f,out=f|--port|g,out=f|--port|h,out=f|--port|i,out=f",
			"more than the 8 ports that a machine can have"},
	} {
		_, err := parseRun(append(strings.Split(tt.args, "|"), "i"))
		require.Error(t, err, tt.args)
		assert.Contains(t, err.Error(), tt.want, tt.args)
	}
}

// connect parses flags and connects the ports.
func connect(t *testing.T, std stdio, args ...string) (vmm.Ports, error) {
	t.Helper()
	o, err := parseRun(append(args, "i"))
	require.NoError(t, err)
	std.outputs = &outputs{}
	ports, end, err := o.ports.connect(t.Context(), std)
	if err == nil {
		require.NoError(t, std.outputs.begin())
		t.Cleanup(end)
		assert.Equal(t, o.devices[len(o.devices)-1].String(), ports.String())
	}
	return ports, err
}

// TestConnectPorts: what each flag connects its port with.
func TestConnectPorts(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(path("values"), []byte("0: 7\n"), 0o600))
	require.NoError(t, os.WriteFile(path("in"), []byte("to the guest"), 0o600))
	require.NoError(t, os.WriteFile(path("dac"), []byte("what was there before"), 0o600))
	listener, err := net.Listen("unix", path("socket"))
	require.NoError(t, err)
	defer listener.Close()
	var heard bytes.Buffer
	ports, err := connect(t, stdio{err: &heard}, "--port", "files,in="+path("in")+",out="+path("out"), "--port", "wire,unix="+path("socket"),
		"--adc", path("values"), "--dac", path("dac"), "--screen", path("screen"), "--buzzer")
	require.NoError(t, err)
	say := func(i int, text string) {
		_, err := io.WriteString(ports[i].Output, text)
		require.NoError(t, err)
	}
	has := func(name, want string) {
		got, err := os.ReadFile(path(name))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	got, err := io.ReadAll(ports[0].Input)
	require.NoError(t, err)
	assert.Equal(t, "to the guest", string(got))
	say(0, "to the host")
	has("out", "to the host")
	peer, err := listener.Accept()
	require.NoError(t, err)
	say(1, "ping")
	p := make([]byte, 4)
	_, err = io.ReadFull(peer, p)
	require.NoError(t, err)
	assert.Equal(t, "ping", string(p))
	peer.Close()
	_, err = ports[1].Input.Read(p)
	assert.Equal(t, io.EOF, err)
	go io.WriteString(ports[2].Output, "0\n")
	_, err = io.ReadFull(ports[2].Input, p[:2])
	require.NoError(t, err)
	assert.Equal(t, "7\n", string(p[:2]))
	say(3, "12\n")
	has("dac", "12\n")
	say(4, "a long row\r\nanother")
	has("screen", "a long row\nanother\n")
	say(4, "\x1b[2J\x1b[Hshort")
	has("screen", "short\n")
	say(5, "440 250\n")
	assert.Equal(t, "buzzer: 440 Hz, 250 ms\n", heard.String())
}

func TestConnectPortErrors(t *testing.T) {
	values := file(t, "values", []byte("0: 5000\n"))
	both := file(t, "both", []byte("to the guest"))
	require.NoError(t, os.Symlink(both, both+"2"))
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--port", "a,in=/nowhere/in"}, "port a: open /nowhere/in: no such file or directory"},
		{[]string{"--port", "a,out=/"}, `port a: "/": want a file or a terminal`},
		{[]string{"--port", "a,in=" + both + ",out=" + both + "2"}, `both2": want another file than the one that is read`},
		{[]string{"--control", values}, `values" is there, and is no socket: choose another path`},
		{[]string{"--port", "a,unix=/nowhere/socket"}, "want a unix stream socket at which a program listens"},
		{[]string{"--adc", "/nowhere/adc"}, `port adc: "/nowhere/adc": no such file or directory`},
		{[]string{"--adc", values}, `line 1: want values from 0 to 4095, found "5000"`},
		{[]string{"--dac", "/nowhere/dac"}, "port dac: open /nowhere/dac"},
		{[]string{"--screen", "/nowhere/screen"}, "port screen: open /nowhere/screen"},
	} {
		_, err := connect(t, stdio{}, tt.args...)
		require.Error(t, err, "%v", tt.args)
		assert.Contains(t, err.Error(), tt.want)
	}
	text, err := os.ReadFile(both)
	require.NoError(t, err)
	assert.Equal(t, "to the guest", string(text), "nothing is lost")
}
