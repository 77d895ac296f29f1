package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
)

// A hook is this program, told by its environment what to do: where to write what it finds, and how it ends.
const (
	hookFile = "KAPSEL_OCI_HOOK"
	hookRoot = "KAPSEL_OCI_HOOK_ROOT" // the runtime's --root
	hookEnd  = "KAPSEL_OCI_HOOK_END"  // "fail", "hang" or ""
)

// A finding is what a hook found.
type finding struct {
	Name       string // args[0]
	Args       []string
	Env        []string
	State      specs.State
	Namespaces map[string]string // by their names in /proc/self/ns
	Command    string            // of the process that State names
	Root       []string          // what is in the runtime's --root
}

// runHook is the program as a hook.
func runHook() int {
	found := finding{Name: os.Args[0], Args: os.Args, Env: os.Environ(), Namespaces: namespacesOf("self")}
	input, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = json.Unmarshal(input, &found.State)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "no state on standard input:", err)
		return 2
	}
	command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", found.State.Pid))
	found.Command = strings.ReplaceAll(string(command), "\x00", " ")
	walk(os.Getenv(hookRoot), func(path string, _ fs.DirEntry) { found.Root = append(found.Root, path) })
	line, err := json.Marshal(found)
	if err == nil {
		err = appendLine(os.Getenv(hookFile), line)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 2
	case os.Getenv(hookEnd) == "fail":
		fmt.Fprintln(os.Stderr, "the hook's own words")
		return 3
	case os.Getenv(hookEnd) == "hang":
		time.Sleep(time.Hour)
	}
	return 0
}

// appendLine adds a line to a file.
func appendLine(name string, line []byte) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(line, '\n'))
	return err
}

// namespacesOf are the namespaces of a process, by their names in /proc.
func namespacesOf(process string) map[string]string {
	all := map[string]string{}
	for _, kind := range []string{"mnt", "net", "ipc", "uts", "pid", "user", "cgroup", "time"} {
		all[kind], _ = os.Readlink(filepath.Join("/proc", process, "ns", kind))
	}
	return all
}

// hook is one that writes what it finds, under that name, and ends as told.
func (r *runtime) hook(name, end string) specs.Hook {
	r.t.Helper()
	file := filepath.Join(r.dir, "streams", "hooks.json")
	require.NoError(r.t, os.MkdirAll(filepath.Dir(file), 0o700))
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND, 0o600)
	require.NoError(r.t, err)
	f.Close()
	program, err := os.Executable()
	require.NoError(r.t, err)
	return specs.Hook{Path: program, Args: []string{name, "an argument"},
		Env: []string{hookFile + "=" + file, hookRoot + "=" + r.root, hookEnd + "=" + end}}
}

// found is what the hooks found, in the order in which they were called.
func (r *runtime) found() []finding {
	r.t.Helper()
	var all []finding
	decoder := json.NewDecoder(bytes.NewReader([]byte(read(r.t, filepath.Join(r.dir, "streams", "hooks.json")))))
	for decoder.More() {
		var f finding
		require.NoError(r.t, decoder.Decode(&f))
		all = append(all, f)
	}
	return all
}

// called are the names of the hooks that were called, in order.
func (r *runtime) called() []string {
	r.t.Helper()
	names := []string{}
	for _, f := range r.found() {
		names = append(names, f.Name)
	}
	return names
}

// points are the six kinds of hooks in the order in which they are called, and the operation that does so.
var points = []struct {
	name, operation string
	container       bool // in the container's namespaces
	list            func(*specs.Hooks) *[]specs.Hook
}{
	//lint:ignore SA1019 what is deprecated is a MUST all the same
	{"prestart", "create", false, func(h *specs.Hooks) *[]specs.Hook { return &h.Prestart }},
	{"createRuntime", "create", false, func(h *specs.Hooks) *[]specs.Hook { return &h.CreateRuntime }},
	{"createContainer", "create", true, func(h *specs.Hooks) *[]specs.Hook { return &h.CreateContainer }},
	{"startContainer", "start", true, func(h *specs.Hooks) *[]specs.Hook { return &h.StartContainer }},
	{"poststart", "start", false, func(h *specs.Hooks) *[]specs.Hook { return &h.Poststart }},
	{"poststop", "delete", false, func(h *specs.Hooks) *[]specs.Hook { return &h.Poststop }},
}

// hooked gives a bundle two hooks of each kind, "NAME 1" and "NAME 2", of which those named end otherwise than well: ends has "fail" or "hang" by name.
func (b *bundle) hooked(ends map[string]string) *bundle {
	b.t.Helper()
	b.spec.Hooks = &specs.Hooks{}
	for _, p := range points {
		for _, n := range []string{" 1", " 2"} {
			list := p.list(b.spec.Hooks)
			*list = append(*list, b.hook(p.name+n, ends[p.name+n]))
		}
	}
	return b
}
