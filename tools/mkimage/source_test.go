package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMainPackage(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	t.Chdir(filepath.Join("..", ".."))
	tc, err := findToolchain()
	require.NoError(t, err)
	outside := t.TempDir()
	const isFolder = `" is no package, but a folder: write "./`
	for _, tt := range []struct {
		name, role, pkg, tags string
		in                    *place
		want                  string
	}{
		{"a task", "task", "./guest/tasks/hello", taskTags, inTask, ""},
		{"a kernel", "kernel", board, kernelTags, inKernel, ""},
		{"a library", "task", "kapsel/guest/abi", taskTags, inTask, `task "kapsel/guest/abi" is package abi, want a main package`},
		{"a kernel that is a library", "kernel", "./guest/kernel", kernelTags, inKernel, `kernel "./guest/kernel" is package kernel, want a main package`},
		{"several packages", "task", "./guest/tasks/bench...", taskTags, inTask, `task "./guest/tasks/bench..." names 2 packages, want one`},
		{"a folder", "task", "guest/tasks/hello", taskTags, inTask, `task "guest/tasks/hello` + isFolder + `guest/tasks/hello"`},
		{"a kernel's folder", "kernel", "guest/board/kvm/", kernelTags, inKernel, `kernel "guest/board/kvm/` + isFolder + `guest/board/kvm"`},
		{"a folder elsewhere", "task", outside, taskTags, inTask, `task "` + outside + `" is a folder outside of the repository, want one below "` + tc.module + `"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tc.mainPackage(tt.role, tt.pkg, tt.tags, tt.in)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, tt.want)
		})
	}
	_, err = tc.mainPackage("task", "./nowhere", taskTags, inTask)
	assert.ErrorContains(t, err, `task "./nowhere": `)
}

// inFolder makes a test's working folder, with files in it.
func inFolder(t *testing.T, files ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		require.NoError(t, write(dir, name, "the user's "+name))
	}
	t.Chdir(dir)
}

func TestCheckArguments(t *testing.T) {
	inFolder(t, "build/hello.elf", "package.elf/main.go")
	require.NoError(t, syscall.Mkfifo("fifo", 0o600))
	require.NoError(t, os.Symlink("/dev/null", "null"))
	const elfFile = "\" is an ELF file, want a Go package (./guest/tasks/hello), a .tbf or .tab file, or a flat 32-bit program in a .bin file"
	for _, tt := range []struct {
		name, out string
		tasks     []string
		want      string
	}{
		{"good", "build/kapsel.elf", []string{"./guest/tasks/hello", "a.tbf", "b.bin"}, ""},
		{"no task", "kapsel.elf", nil, ""},
		{"no output", "", nil, "-o has no name, want that of the image, such as build/kapsel.elf"},
		{"a folder", "build", nil, `-o "build" is a folder, want the name of the image, such as "build/kapsel.elf"`},
		{"a folder that is not there", "out/", nil, `-o "out/" is a folder, want the name of the image, such as "out/kapsel.elf"`},
		{"the working folder", ".", nil, `-o "." is a folder, want the name of the image, such as "kapsel.elf"`},
		{"a pipe", "fifo", nil, `-o "fifo" is a device or a pipe, want the name of the image, such as build/kapsel.elf`},
		{"a device, by a link", "null", nil, `-o "null" is a device or a pipe, want the name of the image, such as build/kapsel.elf`},
		{"a flag behind a task", "kapsel.elf", []string{"a.tbf", "-sha256"}, "\"-sha256\" stands behind the first task, want all flags in front of it"},
		{"a linked program", "kapsel.elf", []string{"build/hello.elf"}, `task "build/hello.elf` + elfFile},
		{"one that is not there", "kapsel.elf", []string{"absent.elf"}, `task "absent.elf` + elfFile},
		{"a package with such a name", "kapsel.elf", []string{"./package.elf"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkArguments(tt.out, tt.tasks)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, tt.want)
		})
	}
}

func TestCheckOutputs(t *testing.T) {
	inFolder(t, "build/hello.tbf", "build/flat.bin", "hello/main.go", "build/earlier.elf")
	require.NoError(t, os.Link("build/hello.tbf", "build/linked.elf"))
	const other = ": want another name or folder for the image (-o)"
	ready, flat := source{task: "build/hello.tbf", files: []string{"build/hello.tbf"}}, source{"build/flat.bin", "flat", []string{"build/flat.bin"}}
	hello, kernel := source{"./hello", "hello", []string{"hello/main.go"}}, source{"./kernel", "kernel", nil}
	for _, tt := range []struct {
		name, out string
		sources   []source
		want      string
	}{
		{"a new image", "out/kapsel.elf", []source{ready, flat, hello}, ""},
		{"an earlier image", "build/earlier.elf", []source{ready, flat}, ""},
		{"the same task twice", "out/kapsel.elf", []source{hello, hello, flat, flat}, ""},
		{"an object", "build/hello.tbf", []source{flat, ready}, `"build/hello.tbf" is read for task "build/hello.tbf", but the image would take its place` + other},
		{"an object by another name", "./build/linked.elf", []source{ready}, `"build/linked.elf" is read for task "build/hello.tbf", but the image would take its place` + other},
		{"a flat program", "build/../build/flat.bin", []source{flat}, `"build/flat.bin" is read for task "build/flat.bin", but the image would take its place` + other},
		{"a source file", "hello/main.go", []source{hello}, `"hello/main.go" is read for task "./hello", but the image would take its place` + other},
		{"the kernel", "./build/kernel.elf", nil, `"build/kernel.elf" would be both the image and the kernel with its symbols: want two names`},
		{"a task's program", "out/hello.elf", []source{hello}, `"out/hello.elf" would be both the image and the program of task "./hello": want two names`},
		{"a task's object", "out/hello.tbf", []source{hello}, `"out/hello.tbf" would be both the image and the object of task "./hello": want two names`},
		{"a flat task's object", "flat.tbf", []source{flat}, `"flat.tbf" would be both the image and the object of task "build/flat.bin": want two names`},
		{"a task called kernel", "out/kapsel.elf", []source{kernel}, `"out/kernel.elf" would be both the kernel with its symbols and the program of task "./kernel": want two names`},
		{"two tasks of one name", "out/kapsel.elf", []source{hello, {"./more/hello", "hello", nil}}, `"out/hello.elf" would be both the program of task "./hello" and the program of task "./more/hello": want two names`},
		{"an object that is built anew", "build/kapsel.elf", []source{hello, ready}, `"build/hello.tbf" is read for task "build/hello.tbf", but the object of task "./hello" would take its place` + other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkOutputs(tt.out, tt.sources)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, tt.want)
		})
	}
}

// What is refused costs no file.
func TestRefusedOutputStays(t *testing.T) {
	dir := newModule(t, map[string]string{
		"out/kernel.elf": "symbols", "out/hello.elf": "a program", "out/ready.tbf": "an object",
	})
	require.NoError(t, os.Mkdir(filepath.Join(dir, "out", "empty"), 0o755))
	t.Chdir(dir)
	for _, tt := range []struct{ name, out, kernel, task, want string }{
		{"the input", "out/ready.tbf", board, "out/ready.tbf", "the image would take its place"},
		{"an empty folder", "out/empty", board, "./guest/tasks/hello", "is a folder"},
		{"the kernel", "out/kernel.elf", board, "./guest/tasks/hello", "would be both the image and the kernel"},
		{"the task", "out/hello.elf", board, "./guest/tasks/hello", "would be both the image and the program of task"},
		{"a kernel that is none", "out/kapsel.elf", "./guest/kernel", "", `kernel "./guest/kernel" is package kernel, want a main package`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tasks []string
			if tt.task != "" {
				tasks = []string{tt.task}
			}
			assert.ErrorContains(t, run(tt.out, tt.kernel, "", false, tasks), tt.want)
			for name, content := range map[string]string{"kernel.elf": "symbols", "hello.elf": "a program", "ready.tbf": "an object"} {
				b, err := os.ReadFile(filepath.Join("out", name))
				require.NoError(t, err)
				assert.Equal(t, content, string(b), name)
			}
			assert.DirExists(t, "out/empty")
		})
	}
}

// A task that cannot be found leaves no image that it does not belong to.
func TestUnknownTaskLeavesNoImage(t *testing.T) {
	dir := newModule(t, map[string]string{"out/kapsel.elf": "an earlier image"})
	t.Chdir(dir)
	assert.ErrorContains(t, run("out/kapsel.elf", board, "", false, []string{"./nowhere"}), `task "./nowhere": `)
	assert.NoFileExists(t, "out/kapsel.elf")
}

func TestCheckTags(t *testing.T) {
	for tags, want := range map[string]string{
		"":                              "",
		"kapsel_debug":                  "",
		"kapsel_debug,go1.26,größe":     "",
		"kapsel_debug,kapsel_task":      `-tags "kapsel_debug,kapsel_task": kapsel_task is set where it belongs`,
		"kapsel_debug kapsel_benchmark": `-tags "kapsel_debug kapsel_benchmark": want names with commas between, found "kapsel_debug kapsel_benchmark"`,
		"kapsel_debug,":                 `-tags "kapsel_debug,": want names with commas between, found ""`,
		"!kapsel_debug":                 `-tags "!kapsel_debug": want names with commas between, found "!kapsel_debug"`,
	} {
		err := checkTags(tags)
		if want == "" {
			assert.NoError(t, err, tags)
		} else {
			assert.EqualError(t, err, want)
		}
	}
}
