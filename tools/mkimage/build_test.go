package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/bench"
)

const board = "kapsel/guest/board/kvm"

// outputs are what a build of the tasks below leaves.
var (
	tasks   = []string{"./guest/tasks/hello", "./guest/tasks/settings"}
	outputs = []string{"kapsel.elf", "kernel.elf", "hello.elf", "hello.tbf", "settings.elf", "settings.tbf"}
)

// settings is a task that uses every directive.
const settings = `//go:build kapsel_task

package main

import "kapsel/guest/task"

//kapsel:stack 8200
//kapsel:heap 0x8000
//kapsel:flash 5000
//kapsel:shortid 0x1234
//kapsel:version 7
//kapsel:permit 0 0 1
//kapsel:permit 2 0
//kapsel:permit 3 0
//kapsel:permit 4 0
//kapsel:permit 5 0
//kapsel:permit 6 0
//kapsel:permit 7 0
//kapsel:permit 8 0

var (
	initial = [3]uint64{1, 2, 3}
	zero    [1000]uint64
)

func main() {
	zero[initial[0]]++
	task.Exit(uint32(zero[1]))
}
`

// playMkimage makes the test binary be the command.
const playMkimage = "KAPSEL_TEST_PLAY_MKIMAGE"

func TestMain(m *testing.M) {
	if os.Getenv(playMkimage) != "" {
		main()
		return
	}
	var err error
	if shared, err = os.MkdirTemp("", "mkimage"); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(shared)
	os.Exit(status)
}

// shared is the folder of what is built once for all tests.
var shared string

// buildShared makes a copy of the module in shared, and builds it for all tests that only look. The
// outputs are in its folder out.
var buildShared = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(shared, "kapsel")
	if err := copyModule(dir); err != nil {
		return dir, err
	}
	return dir, mkimage(dir, io.Discard)
})

// build returns the folder of the shared build's outputs.
func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the kernel")
	}
	dir, err := buildShared()
	require.NoError(t, err)
	return filepath.Join(dir, "out")
}

// copyModule copies what a kernel is built of to dir, and adds the task settings.
func copyModule(dir string) error {
	root := filepath.Join("..", "..")
	names := []string{"go.mod", "go.sum"}
	err := filepath.WalkDir(filepath.Join(root, "guest"), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err == nil && entry.Name() == "testdata":
			return fs.SkipDir
		case err != nil, entry.IsDir(), strings.HasSuffix(path, "_test.go"):
			return err
		}
		name, err := filepath.Rel(root, path)
		names = append(names, name)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		if err := write(dir, name, string(b)); err != nil {
			return err
		}
	}
	return write(dir, "guest/tasks/settings/main.go", settings)
}

func write(dir, name, content string) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// mkimage runs the command in dir. What it prints goes to w.
func mkimage(dir string, w io.Writer) error {
	before, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	defer os.Chdir(before)
	stdout := os.Stdout
	r, pipe, err := os.Pipe()
	if err != nil {
		return err
	}
	os.Stdout = pipe
	err = run(filepath.Join("out", "kapsel.elf"), board, "", false, tasks)
	os.Stdout = stdout
	pipe.Close()
	if _, copyErr := io.Copy(w, r); copyErr != nil {
		return copyErr
	}
	return err
}

// command is mkimage as a process of its own, in dir, with further variables of the environment.
func command(t *testing.T, dir string, variables []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), playMkimage+"=1"), variables...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	require.NotNil(t, cmd.ProcessState, "%v", err)
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Without tasks the command says how it is used, and keeps the image that there is.
func TestNoTasksIsAskedFor(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "build", "kapsel.elf")
	require.NoError(t, write(dir, "build/kapsel.elf", "an earlier image"))
	for _, args := range [][]string{nil, {"-o", image}, {"-no-tasks", "./guest/tasks/hello"}} {
		status, out, said := command(t, dir, nil, args...)
		assert.Equal(t, statusUsage, status, args)
		assert.Empty(t, out, args)
		assert.True(t, strings.HasPrefix(said, "mkimage: want at least one TASK, or -no-tasks and none\nusage: mkimage "), said)
		content, err := os.ReadFile(image)
		require.NoError(t, err)
		assert.Equal(t, "an earlier image", string(content))
	}
	status, out, said := command(t, filepath.Dir(build(t)), nil, "-o", image, "-no-tasks")
	assert.Equal(t, 0, status, said)
	assert.Contains(t, out, ", tasks 0\n")
}

// Names of files are in quotes, and a message is one line whatever is in them.
func TestMessagesQuoteFileNames(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, write(dir, "a\nb.tbf", ""))
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"an empty object", []string{"a\nb.tbf"}, `"a\nb.tbf" is empty, want a TBF object`},
		{"an object that is not there", []string{"c d.tbf"}, `open "c d.tbf": no such file or directory`},
		{"an ELF file", []string{"e f.elf"}, `task "e f.elf" is an ELF file, want `},
		{"a folder that cannot be made", []string{"-o", "a\nb.tbf/k.elf", "c.tbf"}, `"a\nb.tbf`},
		{"a package", []string{"./g h"}, `task "./g h": `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if args[0] != "-o" {
				args = append([]string{"-o", filepath.Join(dir, "out", "k.elf")}, args...)
			}
			for i, arg := range args {
				if strings.HasPrefix(arg, "a\n") {
					args[i] = filepath.Join(dir, arg)
				}
			}
			status, _, said := command(t, filepath.Dir(build(t)), nil, args...)
			assert.Equal(t, 1, status)
			assert.Contains(t, strings.ReplaceAll(said, dir+"/", ""), tt.want)
			assert.Equal(t, 1, strings.Count(said, "\n"), "%q", said)
		})
	}
}

func TestTags(t *testing.T) {
	tc := &toolchain{}
	assert.Equal(t, "kapsel,kapsel_task", tc.withTags(taskTags))
	tc.tags = "one,two"
	assert.Equal(t, "kapsel,kapsel_task,one,two", tc.withTags(taskTags))
}

// newModule copies the module for a test that changes it, file by file.
func newModule(t *testing.T, files map[string]string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the kernel")
	}
	dir := filepath.Join(t.TempDir(), "a", "longer", "path")
	require.NoError(t, copyModule(dir))
	for name, content := range files {
		require.NoError(t, write(dir, name, content))
	}
	return dir
}

func TestBuildIsReproducible(t *testing.T) {
	first := build(t)
	second := newModule(t, nil)
	require.NoError(t, mkimage(second, io.Discard))
	for _, name := range outputs {
		a, err := os.ReadFile(filepath.Join(first, name))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(second, "out", name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(a, b), "%s differs from one folder to the other", name)
		assert.False(t, bytes.Contains(a, []byte(filepath.Dir(first))), "%s names the folder that it was built in", name)
	}
}

func TestBrokenBuildLeavesNoImage(t *testing.T) {
	dir := newModule(t, map[string]string{
		"out/kapsel.elf":                 "an earlier image",
		"guest/capsules/alarm/broken.go": "package alarm\n\nfunc broken() { return 1 }\n",
	})
	err := mkimage(dir, io.Discard)
	require.ErrorContains(t, err, "guest/capsules/alarm/broken.go:3:")
	assert.NoFileExists(t, filepath.Join(dir, "out", "kapsel.elf"))
}

// The kernel has no allocator, and who needs one hears where: in a function that stands for
// itself, and in one that the compiler put into its caller, of another package.
func TestBuildNamesTheLine(t *testing.T) {
	t.Chdir(newModule(t, map[string]string{
		"guest/board/kvm/broken.go": "//go:build kapsel_kernel\n\npackage main\n\n" +
			"import \"kapsel/guest/capsules/alarm\"\n\nfunc init() { alarm.Broken(byte(len(alarmed))) }\n\nvar alarmed string\n",
	}))
	for _, tt := range []struct{ name, directive, body, want string }{
		{"append", "//go:noinline", "kept = append(kept, b)", "append needs an allocator"},
		{"append, inlined", "//", "kept = append(kept, b)", "append needs an allocator"},
		{"go", "//go:noinline", "go other()", "go needs a scheduler"},
		{"defer", "//go:noinline", "defer other(); other()", "defer is not available: call at each end of the function"},
		{"defer of a closure, in a branch", "//go:noinline", "if b > 3 { defer func() { kept = nil }() }; other(); other()",
			"defer is not available: call at each end of the function"},
		{"reading a map", "//go:noinline", "b = numbers[b]; kept[0] = b", "a map is not available: use an array and an index"},
		{"making a map", "//go:noinline", "numbers = map[byte]byte{1: 2, b: 4}", "a map is not available: use an array and an index"},
		{"sending", "//go:noinline", "bytes <- b", "a channel needs a scheduler"},
		{"a closure that escapes", "//go:noinline", "n := b; function = func() { n++; other() }", "new, &T{}, or a variable or closure that escapes, needs an allocator"},
		{"a byte in an interface", "//go:noinline", "anything = b", "a value that is not a pointer, put in an interface, needs an allocator"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.NoError(t, write(".", "guest/capsules/alarm/broken.go", "package alarm\n\nvar kept []byte\n\n"+
				tt.directive+"\nfunc Broken(b byte) {\n\t"+tt.body+"\n\tkept = nil\n}\n\n"+`func other() {}

var (
	numbers  map[byte]byte
	bytes    chan byte
	function func()
	anything any
)
`))
			assert.EqualError(t, runQuietly("out/kapsel.elf"), "\"kapsel/guest/board/kvm\" may not use what has no place under it (docs/HACKING.md):\n  "+
				"guest/capsules/alarm/broken.go:7: "+tt.want)
		})
	}
}

func TestOtherToolchainIsRefused(t *testing.T) {
	dir := newModule(t, nil)
	path := filepath.Join(dir, "go.mod")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, tt := range []struct{ name, line, want string }{
		{"another version", "toolchain go1.26.999", "needs go1.26.999, which go.mod pins, found "},
		{"none pinned", "", "has no toolchain line, which should pin the Go version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("GOTOOLCHAIN", "local")
			t.Setenv("GOPROXY", "off")
			var lines []string
			for line := range strings.Lines(string(b)) {
				if strings.HasPrefix(line, "toolchain ") {
					line = tt.line + "\n"
				}
				lines = append(lines, line)
			}
			require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o644))
			err := mkimage(dir, io.Discard)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestSizes(t *testing.T) {
	dir := build(t)
	var said bytes.Buffer
	require.NoError(t, mkimage(filepath.Dir(dir), &said))
	var text, rodata, sum, pclntab, data, bss, tasks int
	_, err := fmt.Sscanf(said.String(), "out/kapsel.elf: text %d + rodata %d = %d bytes; pclntab %d, data %d, bss %d, tasks %d\n",
		&text, &rodata, &sum, &pclntab, &data, &bss, &tasks)
	require.NoError(t, err, said.String())
	assert.Equal(t, text+rodata, sum)
	results, err := bench.KernelSizes(filepath.Join(dir, "kapsel.elf"), filepath.Join(dir, "kernel.elf"))
	require.NoError(t, err)
	found := map[string]int{}
	for _, r := range results {
		found[r.Name] = int(r.Metrics[0].Value)
	}
	assert.Equal(t, map[string]int{"KernelText": text, "KernelRodata": rodata, "KernelTextRodata": sum,
		"KernelPclntab": pclntab, "KernelData": data, "KernelBSS": bss}, found, "as kapsel bench counts them")
	assert.Less(t, sum, 360<<10, "the kernel's code and constants")
	assert.Greater(t, text, 32<<10, "it is a whole kernel")
	size := 0
	for _, name := range []string{"hello.tbf", "settings.tbf"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		size += int(info.Size())
	}
	assert.Equal(t, size, tasks)
}
