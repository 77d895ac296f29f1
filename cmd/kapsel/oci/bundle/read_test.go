package bundle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// minimal is a configuration that is sound.
const minimal = `{"ociVersion": "1.3.0", "root": {"path": "rootfs"}}`

// written is a directory with a configuration and an empty root file system.
func written(t testing.TB, config string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "rootfs"), 0o755))
	write(t, filepath.Join(dir, Config), []byte(config))
	return dir
}

func TestRead(t *testing.T) {
	dir := written(t, minimal)
	t.Chdir(filepath.Dir(dir))
	b, err := Read(filepath.Base(dir))
	require.NoError(t, err)
	assert.Equal(t, dir, b.Dir)
	assert.Equal(t, filepath.Join(dir, "rootfs"), b.Root)
	assert.Equal(t, "1.3.0", b.Spec.Version)
}

// TestUnknownPropertiesAreIgnored: of later versions of the specification, and of anybody (config.md, Extensibility).
func TestUnknownPropertiesAreIgnored(t *testing.T) {
	_, err := Read(written(t, `{"ociVersion": "1.99.7-rc.1+x", "later": [{"x": 1}], "root": {"path": "rootfs", "later": {}}, "process": {"cwd": "/", "args": ["a"], "later": 1}}`))
	assert.NoError(t, err)
}

// TestReadRefuses: what is wrong with a configuration is said in one line.
func TestReadRefuses(t *testing.T) {
	with := func(text string) string { return strings.TrimSuffix(minimal, "}") + ", " + text + "}" }
	for _, tt := range []struct{ name, config, want string }{
		{"empty", "", "want a container's configuration as the OCI runtime specification has it: unexpected end of JSON input"},
		{"no JSON", "#!/bin/sh", "want a container's configuration as the OCI runtime specification has it: invalid character"},
		{"another type", `{"ociVersion": 1}`, "cannot unmarshal number into Go struct field"},
		{"more behind it", minimal + "{}", "after top-level value"},
		{"null", "null", `no "ociVersion": want a version of the OCI runtime specification, as "1.3.0"`},
		{"no version", `{"root": {"path": "rootfs"}}`, `no "ociVersion"`},
		{"a version that is none", `{"ociVersion": "1.3", "root": {"path": "rootfs"}}`, `ociVersion "1.3": want a version as "1.3.0"`},
		{"another major version", `{"ociVersion": "2.0.0", "root": {"path": "rootfs"}}`, `ociVersion "2.0.0": want 1.x, as "1.3.0"`},
		{"no root", `{"ociVersion": "1.3.0"}`, `no "root.path": want the directory of the root file system`},
		{"an empty root", `{"ociVersion": "1.3.0", "root": {"path": ""}}`, `no "root.path"`},
		{"a root that is not there", `{"ociVersion": "1.3.0", "root": {"path": "other"}}`, `/other": no such file or directory`},
		{"a root that is a file", `{"ociVersion": "1.3.0", "root": {"path": "config.json"}}`, `/config.json": want a directory`},
		{"a relative working directory", with(`"process": {"cwd": "tmp", "args": ["a"]}`), `process.cwd "tmp": want an absolute path`},
		{"no arguments", with(`"process": {"cwd": "/", "args": []}`), "process.args is empty: want one word or more"},
		{"a NUL in an argument", with(`"process": {"cwd": "/", "args": ["a", "b\u0000c"]}`), "process.args[1] has a NUL character"},
		{"a NUL in the environment", with(`"process": {"cwd": "/", "args": ["a"], "env": ["A=\u0000"]}`), "process.env[0] has a NUL character"},
		{"too large", minimal + strings.Repeat(" ", MaxConfig), "more than 4194304 bytes, which is the most that is read"},
		{"nested without end", strings.Repeat("[", MaxConfig-1), "exceeded max depth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(written(t, tt.config))
			assert.ErrorContains(t, err, tt.want)
			if err != nil {
				assert.NotContains(t, err.Error(), "\n")
				assert.Contains(t, err.Error(), "config.json")
			}
		})
	}
}

// TestReadRefusesOtherFiles: a bundle without configuration, and one whose configuration is a pipe, for which nobody waits.
func TestReadRefusesOtherFiles(t *testing.T) {
	_, err := Read(t.TempDir())
	assert.ErrorContains(t, err, "config.json: no such file: want the directory of an OCI bundle, as --bundle DIR")

	dir := t.TempDir()
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, Config), 0o600))
	_, err = Read(dir)
	assert.ErrorContains(t, err, "config.json: want a file, found one of another kind (p---------)")
}

// FuzzRead: whatever a configuration and kapsel.json say, there is a command or an error of one line, and no file is open that the command does not name.
func FuzzRead(f *testing.F) {
	whole, err := json.Marshal(spec())
	require.NoError(f, err)
	f.Add([]byte(minimal), []byte(nil))
	f.Add(whole, []byte(`{"tasks": "/a.tbf"}`))
	f.Add([]byte(`{"ociVersion":"1.0.0","root":{"path":"rootfs"},"process":{"cwd":"/","args":["/a.tbf"],"env":["A=b"]},"annotations":{"org.kapsel.tasks":"/a.tbf /a.tbf","org.kapsel.net":"user,mac=52:54:00:12:34:56"},
		"mounts":[{"destination":"/d","source":"config.json","options":["bind","ro"]}],"linux":{"resources":{"memory":{"limit":67108864}}}}`), []byte(`{"memory": "8M"}`))
	f.Add([]byte(`{"ociVersion":"1.0.0","vm":{"kernel":{"path":"/k","parameters":["a"],"initrd":"/i"},"hwconfig":{"vcpus":2,"memory":1}}}`), []byte(`null`))
	task := object(f)
	f.Fuzz(func(t *testing.T, config, words []byte) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, Config), config)
		write(t, filepath.Join(dir, "rootfs", "a.tbf"), task)
		if len(words) > 0 {
			write(t, filepath.Join(dir, "rootfs", kapselFile), words)
		}
		b, err := Read(dir)
		if err != nil {
			return
		}
		foreign, reason, err := b.Foreign()
		if err != nil {
			return
		}
		c, err := b.Command(commandDir(t))
		if err != nil {
			return
		}
		defer c.Close()
		for _, name := range sandboxes {
			if b.Spec.Annotations[name] == "sandbox" {
				return
			}
		}
		require.False(t, foreign, reason)
		require.Equal(t, []string{"run", "--ask"}, c.Args[:2])
		for i := range c.Files {
			require.Contains(t, strings.Join(c.Args, " "), fmt.Sprint("/dev/fd/", FirstFile+i))
		}
	})
}

// TestNoWorkingDirectory: an absolute path needs none, and of another one the error names what was given.
func TestNoWorkingDirectory(t *testing.T) {
	b := made(t, spec(), nil)
	gone, err := os.MkdirTemp(t.TempDir(), "")
	require.NoError(t, err)
	t.Chdir(gone)
	require.NoError(t, os.Remove(gone))
	_, err = Read(b.Dir)
	assert.NoError(t, err)
	_, err = Read("here")
	assert.ErrorContains(t, err, `bundle "here": `)
	assert.ErrorContains(t, err, "want an absolute path")
}
