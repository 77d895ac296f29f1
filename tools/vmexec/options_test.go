package main

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseOptions(t *testing.T) {
	here, err := filepath.Abs(".")
	require.NoError(t, err)

	o, err := parseOptions([]string{"-add", "a", "-add", "/b", "-out", "o", "-rig", "/rig", "-mem", "1024",
		"-icount", "-timeout", "3s", "x.test", "-test.v", "-mem", "1"}, &bytes.Buffer{})
	require.NoError(t, err)
	assert.Equal(t, &options{
		rig: "/rig", cpu: defaultCPU, mem: 1024, icount: true, timeout: 3 * time.Second,
		add: pathList{filepath.Join(here, "a"), "/b"}, out: filepath.Join(here, "o"),
		program: filepath.Join(here, "x.test"), args: []string{"-test.v", "-mem", "1"},
	}, o)
}

func TestParseOptionsDefaultRig(t *testing.T) {
	o, err := parseOptions([]string{"/x.test"}, &bytes.Buffer{})
	require.NoError(t, err)
	assert.Equal(t, "rig", filepath.Base(o.rig))
	assert.True(t, filepath.IsAbs(o.rig))
}

func TestParseOptionsErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no program", nil, "no program given"},
		{"only flags", []string{"-v"}, "no program given"},
		{"unknown flag", []string{"-x", "p"}, "-x"},
		{"time of two kinds", []string{"-icount", "-host-time", "p"}, "either counted or the host's"},
		{"too little memory", []string{"-mem", "64", "p"}, "-mem 64: want 128"},
		{"too much memory", []string{"-mem", "9999999", "p"}, "-mem 9999999: want"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseOptions(test.args, &bytes.Buffer{})
			assert.ErrorContains(t, err, test.want)
		})
	}
}
