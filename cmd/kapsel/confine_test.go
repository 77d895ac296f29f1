package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/confine"
)

func TestConfineFlag(t *testing.T) {
	for _, test := range []struct {
		args []string
		want confineFlag
	}{{nil, confineDefault}, {[]string{"--confine=on"}, confineOn}, {[]string{"--confine", "off"}, confineOff}} {
		o, err := parseRun(append(test.args, "image"))
		require.NoError(t, err)
		assert.Equal(t, test.want, o.confine)
	}
	_, err := parseRun([]string{"--confine=strict", "image"})
	assert.EqualError(t, err, "--confine strict: want on or off")
}

// TestNeeds: each flag keeps what its device needs, and no more.
func TestNeeds(t *testing.T) {
	nowhere, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer nowhere.Close()
	for _, test := range []struct {
		args []string
		want confine.Options
	}{
		{nil, confine.Options{}},
		{[]string{"--rng", "--console=virtio", "--gpio", "--buzzer", "--net=tap=t"}, confine.Options{}},
		{[]string{"--port=a,in=f,out=g", "--adc=f", "--dac=g"}, confine.Options{}},
		{[]string{"--disk=f"}, confine.Options{Files: true}},
		{[]string{"--disk=f,ro"}, confine.Options{Files: true}},
		{[]string{"--disk=f,private"}, confine.Options{}},
		{[]string{"--screen=f"}, confine.Options{Files: true}},
		{[]string{"--port=a,unix=s"}, confine.Options{Sockets: true}},
		{[]string{"--net=user"}, confine.Options{Network: true}},
		{[]string{"--net=link=eth0"}, confine.Options{Packets: true}},
		{[]string{"--net=unix=s"}, confine.Options{Sockets: true, Remove: []string{"s"}}},
		{[]string{"--control=unix:c", "--disk=f"}, confine.Options{Files: true, Sockets: true, Remove: []string{"c"}}},
	} {
		o, err := parseRun(append(test.args, "image"))
		require.NoError(t, err)
		assert.Equal(t, test.want, o.needs(nowhere), test.args)
	}
	user, program := openTerminal(t)
	defer user.Close()
	o, err := parseRun([]string{"image"})
	require.NoError(t, err)
	assert.Equal(t, confine.Options{Terminal: true}, o.needs(program))
}
