package oci

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shell is a hook that runs a script in the folder of the bundle.
func shell(script string) specs.Hook {
	return specs.Hook{Path: "/bin/sh", Args: []string{"hook", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
}

// Hooks run in order, in the bundle's directory, with the state on standard input and their own environment alone.
func TestHooks(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KAPSEL_SECRET", "x")
	s := specs.State{Version: specs.Version, ID: "a", Status: specs.StateCreating, Pid: 7, Bundle: dir}
	require.NoError(t, runHooks("createRuntime", []specs.Hook{shell("cat >state"), shell("env >env; echo 1 >>order"), shell("echo 2 >>order")}, s))
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(text)
	}
	var got specs.State
	require.NoError(t, json.Unmarshal([]byte(read("state")), &got))
	assert.Equal(t, s, got)
	assert.Equal(t, "1\n2\n", read("order"))
	assert.NotContains(t, read("env"), "KAPSEL_SECRET")
}

func TestHookThatFails(t *testing.T) {
	dir := t.TempDir()
	err := runHooks("poststart", []specs.Hook{shell("true"), shell("echo no such device >&2; exit 3"), shell("touch ran")}, specs.State{Bundle: dir})
	assert.EqualError(t, err, `hook poststart[1], "/bin/sh": exit status 3: it said "no such device"`)
	assert.NoFileExists(t, filepath.Join(dir, "ran"), "none runs behind it")
	assert.ErrorContains(t, runHooks("prestart", []specs.Hook{{Path: "/nonexistent"}}, specs.State{Bundle: dir}), "no such file")
}

// A hook need not read the state, however large that is.
func TestHookThatDoesNotRead(t *testing.T) {
	s := specs.State{Bundle: t.TempDir(), Annotations: map[string]string{"a": strings.Repeat("x", 1<<20)}}
	assert.NoError(t, runHook(shell("exec <&-; true"), s))
}

// A hook that takes longer than it may is killed, with what it has started.
func TestHookTimeout(t *testing.T) {
	one, dir := 1, t.TempDir()
	h := shell("sleep 1000 & echo $! >child; wait")
	h.Timeout = &one
	err := runHook(h, specs.State{Bundle: dir})
	assert.ErrorIs(t, err, errHookTimeout)
	assert.ErrorContains(t, err, "it took longer than its timeout of 1 s")
	text, err := os.ReadFile(filepath.Join(dir, "child"))
	require.NoError(t, err)
	assert.Eventually(t, func() bool {
		_, err := os.Stat("/proc/" + strings.TrimSpace(string(text)) + "/cwd/child") // of a process that ends it is no longer there
		return err != nil
	}, patience, tick)
}

func TestCheckHooks(t *testing.T) {
	none, long := 0, math.MaxInt
	assert.NoError(t, checkHooks(nil))
	assert.NoError(t, checkHooks(&specs.Hooks{Poststop: []specs.Hook{{Path: "/a"}}}))
	assert.ErrorContains(t, checkHooks(&specs.Hooks{StartContainer: []specs.Hook{{Path: "/a"}, {Path: "b"}}}), `hooks.startContainer[1].path "b": want an absolute path`)
	assert.ErrorContains(t, checkHooks(&specs.Hooks{Poststart: []specs.Hook{{Path: "/a", Timeout: &none}}}), "hooks.poststart[0].timeout 0: want a number of seconds greater than 0")
	assert.ErrorContains(t, checkHooks(&specs.Hooks{Poststop: []specs.Hook{{Path: "/a", Timeout: &long}}}), "and at most 31536000, or none", "more would be less than nothing, in nanoseconds")
}

func TestTail(t *testing.T) {
	var last tail
	for range 100 {
		n, err := last.Write([]byte(strings.Repeat("a", 99) + "b"))
		require.NoError(t, err)
		require.Equal(t, 100, n)
	}
	assert.Len(t, last.String(), maxTail)
	last.Write([]byte(strings.Repeat("c", 2*maxTail)))
	assert.Equal(t, strings.Repeat("c", maxTail), last.String())
}
