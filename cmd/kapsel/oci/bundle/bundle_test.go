package bundle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/vmm/image"
)

// object is a task.
func object(t testing.TB) []byte {
	t.Helper()
	o, err := tbfbuild.Build(tbfbuild.Spec{Name: "blink", Binary: []byte("code"), ABI64: true})
	require.NoError(t, err)
	return o
}

// kernelImage is an image.
func kernelImage() []byte { return image.Flat([]byte{0xf4}, 0) }

// write writes a file, with its directories.
func write(t testing.TB, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, content, 0o644))
}

// spec is a configuration as engines write it, with changes.
func spec(changes ...func(s *specs.Spec)) *specs.Spec {
	s := &specs.Spec{
		Version: "1.0.2-dev",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Cwd: "/", Args: []string{"/kapsel.elf"}},
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

// made is a bundle with a configuration and files of its root file system.
func made(t testing.TB, s *specs.Spec, files map[string][]byte) *Bundle {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "rootfs"), 0o755))
	for name, content := range files {
		write(t, filepath.Join(dir, "rootfs", name), content)
	}
	text, err := json.Marshal(s)
	require.NoError(t, err)
	write(t, filepath.Join(dir, Config), text)
	b, err := Read(dir)
	require.NoError(t, err)
	return b
}

// commandDir is a command's directory, with the kernel that comes with it.
func commandDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "bare.elf"), append(kernelImage(), "bare"...))
	return dir
}

// command is the bundle's command.
func command(t testing.TB, b *Bundle) *Command {
	t.Helper()
	foreign, reason, err := b.Foreign()
	require.NoError(t, err)
	require.False(t, foreign, reason)
	c, err := b.Command(commandDir(t))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// TestAnnotations: what annotations name becomes the command line, with files as descriptors.
func TestAnnotations(t *testing.T) {
	b := made(t, spec(func(s *specs.Spec) {
		s.Process.Args = []string{"anything", "-v", "two words"}
		s.Process.Env = []string{"PATH=/bin", "A=b=c", "none", "=x"}
		s.Annotations = map[string]string{
			"org.kapsel.kernel": "/boot/kernel", "org.kapsel.tasks": "/one.tbf two.tbf", "org.kapsel.memory": "16M",
			"org.kapsel.cmdline": "boot-ticks", "org.kapsel.rng": "true", "org.kapsel.net": "user,allow=example.com:443",
			"org.kapsel.later": "x", "org.opencontainers.image.title": "y",
		}
	}), map[string][]byte{"boot/kernel": kernelImage(), "one.tbf": object(t), "two.tbf": object(t)})
	c := command(t, b)
	assert.Equal(t, []string{"run", "--ask", "--mem=16777216", "--cmdline=boot-ticks", "--rng", "--net=user,allow=example.com:443", "--env-from=/dev/fd/3",
		"/dev/fd/4", "/dev/fd/5", "/dev/fd/6", "--", "-v", "two words"}, c.Args)
	environment, err := os.ReadFile(fmt.Sprint("/dev/fd/", c.Files[0].Fd()))
	assert.NoError(t, err)
	assert.Equal(t, "PATH=/bin\x00A=b=c\x00", string(environment), "in a file, not on a command line that others see")
	assert.EqualValues(t, 16<<20, c.Memory)
	assert.Len(t, c.Files, 4)
	assert.Equal(t, []string{`annotation "org.kapsel.later" means nothing: known are org.kapsel.kernel, org.kapsel.tasks, org.kapsel.snapshot, org.kapsel.cmdline, org.kapsel.memory, org.kapsel.net, org.kapsel.rng`,
		`process.env "none" is no NAME=VALUE`, `process.env "=x" is no NAME=VALUE`}, c.Notes)
}
