package bundle

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/kernel/tbf/tab/tabtest"
)

// plain are the arguments of a command behind "run", "--ask" and the memory.
func plain(c *Command) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(c.Args[2:]), func(arg string) bool { return strings.HasPrefix(arg, "--mem=") }), " ")
}

// args, words and cwd are changes of a configuration.
func args(words ...string) func(*specs.Spec) { return func(s *specs.Spec) { s.Process.Args = words } }

func annotated(pairs ...string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		for pair := range slices.Chunk(pairs, 2) {
			s.Annotations[pair[0]] = pair[1]
		}
	}
}

// image are the files of an image of every kind, each with a tail of its own by which it is known.
func imageFiles(t testing.TB) map[string][]byte {
	tail := func(content []byte, name string) []byte { return append(slices.Clone(content), name...) }
	return map[string][]byte{
		"kernel": tail(kernelImage(), "kernel"), "other.elf": tail(kernelImage(), "other"),
		"one.tbf": tail(object(t), "one"), "two.tbf": tail(object(t), "two"), "task": tail(object(t), "task"),
		"app.tab":  tail(tabtest.Archive(t, tabtest.File("x86.tbf", string(object(t)))), "tab"),
		"bin/tool": []byte("#!/bin/sh\n"), "empty": nil, "broken.tbf": []byte("none"), "elf": []byte("\x7fELF"), "sub/three.tbf": tail(object(t), "three"),
	}
}

// TestWhatRuns: the annotations, kapsel.json and the first argument, in this order; arguments behind the first are the tasks'.
func TestWhatRuns(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*specs.Spec)
		file   string // kapsel.json
		want   string
		tails  []string
	}{
		{"an image as argument", args("/kernel", "-a", "--", "b c"), "", "/dev/fd/3 -- -a -- b c", []string{"kernel"}},
		{"a task as argument", args("/one.tbf", "x"), "", "/dev/fd/3 /dev/fd/4 -- x", []string{"bare", "one"}},
		{"a task without a telling name", args("/task"), "", "/dev/fd/3 /dev/fd/4", []string{"bare", "task"}},
		{"an archive", args("/app.tab"), "", "/dev/fd/3 /dev/fd/4", []string{"bare", "tab"}},
		{"an argument relative to the working directory", func(s *specs.Spec) { s.Process.Args, s.Process.Cwd = []string{"three.tbf"}, "/sub" }, "", "/dev/fd/3 /dev/fd/4", []string{"bare", "three"}},
		{"kapsel.json before the argument", args("/kernel", "x"), `{"tasks": "/one.tbf /two.tbf"}`, "/dev/fd/3 /dev/fd/4 /dev/fd/5 -- x", []string{"bare", "one", "two"}},
		{"kapsel.json with a kernel", args("/bin/tool"), `{"kernel": "/kernel", "tasks": "one.tbf", "cmdline": "boot-ticks"}`, "--cmdline=boot-ticks /dev/fd/3 /dev/fd/4", []string{"kernel", "one"}},
		{"annotations before kapsel.json", annotated("org.kapsel.tasks", "/two.tbf"), `{"kernel": "/kernel", "tasks": "/one.tbf"}`, "/dev/fd/3 /dev/fd/4", []string{"bare", "two"}},
		{"what annotations do not say is kapsel.json's", annotated("org.kapsel.cmdline", "boot-ticks"), `{"kernel": "/other.elf", "cmdline": "console", "rng": "true"}`,
			"--cmdline=boot-ticks --rng /dev/fd/3", []string{"other"}},
		{"words without a program", args("/task"), `{"rng": "true"}`, "--rng /dev/fd/3 /dev/fd/4", []string{"bare", "task"}},
		{"a path that leads above the root", args("/../../one.tbf"), "", "/dev/fd/3 /dev/fd/4", []string{"bare", "one"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := imageFiles(t)
			if tt.file != "" {
				content[kapselFile] = []byte(tt.file)
			}
			s := spec(args("/kernel"), tt.change)
			c := command(t, made(t, s, content))
			assert.Equal(t, tt.want, plain(c))
			require.Len(t, c.Files, len(tt.tails))
			for i, f := range c.Files {
				text, err := io.ReadAll(f)
				require.NoError(t, err)
				assert.True(t, strings.HasSuffix(string(text), tt.tails[i]), "file %d is not %s", i, tt.tails[i])
			}
		})
	}
}

// TestWithoutAKernel: tasks alone on a command without its kernel.
func TestWithoutAKernel(t *testing.T) {
	dir := t.TempDir()
	_, err := made(t, spec(args("/one.tbf")), imageFiles(t)).Command(dir)
	assert.ErrorContains(t, err, fmt.Sprintf("a task and no image: want the kernel that comes with the command, %q", dir+"/bare.elf"))
	write(t, filepath.Join(dir, "bare.elf"), []byte("none"))
	_, err = made(t, spec(args("/one.tbf")), imageFiles(t)).Command(dir)
	assert.EqualError(t, err, fmt.Sprintf("process.args: kernel %q: want a Kapsel image, which mkimage makes; a task is named by tasks", dir+"/bare.elf"))
}

// TestWithoutAProcess: a container can be created without one, if words say what runs.
func TestWithoutAProcess(t *testing.T) {
	c := command(t, made(t, spec(func(s *specs.Spec) { s.Process = nil }, annotated("org.kapsel.kernel", "/kernel")), imageFiles(t)))
	assert.Equal(t, "/dev/fd/3", plain(c))
	foreign, reason, err := made(t, spec(func(s *specs.Spec) { s.Process = nil }), imageFiles(t)).Foreign()
	require.NoError(t, err)
	assert.True(t, foreign)
	assert.Equal(t, "it has no process, and no word says what Kapsel runs", reason)
}

// TestSnapshotRuns: a directory in the place of kernel and tasks, with the memory and command line that it has.
func TestSnapshotRuns(t *testing.T) {
	content := map[string][]byte{"snapshot/oci-layout": []byte("{}")}
	b := made(t, spec(annotated("org.kapsel.snapshot", "/snapshot"), args("x", "y")), content)
	c := command(t, b)
	assert.Equal(t, []string{"run", "--ask", "--from=/dev/fd/3"}, c.Args)
	assert.Equal(t, []string{"process.args and process.env are passed over: a snapshot has those that it was taken with"}, c.Notes)
	assert.Zero(t, c.Memory)
	info, err := c.Files[0].Stat()
	require.NoError(t, err)
	assert.True(t, info.IsDir())

	for _, tt := range []struct{ name, value, want string }{
		{"org.kapsel.memory", "16M", "org.kapsel.memory: a snapshot has its memory: want none"},
		{"org.kapsel.cmdline", "x", "org.kapsel.cmdline: a snapshot has its command line: want none"},
		{"org.kapsel.tasks", "/a.tbf", "annotations: a snapshot has its kernel and its tasks: want snapshot alone, or kernel and tasks"},
		{"org.kapsel.snapshot", "/snapshot/oci-layout", `annotations: snapshot: "/snapshot/oci-layout" in the root file system: want a directory`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := made(t, spec(annotated("org.kapsel.snapshot", "/snapshot", tt.name, tt.value)), content).Command(commandDir(t))
			assert.EqualError(t, err, tt.want)
		})
	}
}

// TestVMObject: the configuration's own words for a machine (config-vm.md), whose paths are the host's, come before all others.
func TestVMObject(t *testing.T) {
	dir := t.TempDir()
	host := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		write(t, path, content)
		return path
	}
	one, memory := uint32(1), uint64(32<<20)
	vm := func(change func(vm *specs.VM)) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.VM = &specs.VM{Kernel: specs.VMKernel{Path: host("host.elf", kernelImage()), Parameters: []string{"boot-ticks", "console"}, InitRD: host("host.tbf", object(t))},
				HwConfig: &specs.HWConfig{VCPUs: &one, Memory: &memory}, Hypervisor: specs.VMHypervisor{Path: "/usr/bin/vmm"}}
			change(s.VM)
		}
	}
	c := command(t, made(t, spec(vm(func(*specs.VM) {}), annotated("org.kapsel.kernel", "/kernel", "org.kapsel.rng", "true")), imageFiles(t)))
	assert.Equal(t, []string{"run", "--ask", "--mem=33554432", "--cmdline=boot-ticks console", "--rng", "/dev/fd/3", "/dev/fd/4"}, c.Args)
	require.Len(t, c.Notes, 1)
	assert.Equal(t, `vm.hypervisor "/usr/bin/vmm" is passed over: kapsel run is the hypervisor`, c.Notes[0])

	two := uint32(2)
	odd := uint64(4097)
	for _, tt := range []struct {
		name   string
		change func(vm *specs.VM)
		want   string
	}{
		{"no kernel", func(vm *specs.VM) { vm.Kernel.Path = "" }, `vm.kernel.path "": want the absolute path of a Kapsel image`},
		{"a relative kernel", func(vm *specs.VM) { vm.Kernel.Path = "kernel" }, `vm.kernel.path "kernel": want the absolute path`},
		{"a kernel that is none", func(vm *specs.VM) { vm.Kernel.Path = host("text", []byte("x")) }, `/text": want a Kapsel image, which mkimage makes`},
		{"a kernel that is a device", func(vm *specs.VM) { vm.Kernel.Path = "/dev/zero" }, `vm: kernel: "/dev/zero": want a file, found one of another kind (Dc`},
		{"a relative initrd", func(vm *specs.VM) { vm.Kernel.InitRD = "x" }, `vm.kernel.initrd "x": want the absolute path of a file of tasks`},
		{"an initrd of no tasks", func(vm *specs.VM) { vm.Kernel.InitRD = host("text", []byte("x")) }, `/text": want a task in Tock Binary Format`},
		{"an image", func(vm *specs.VM) { vm.Image.Path = "/vm.img" }, `vm.image "/vm.img": a guest has no root file system: want none`},
		{"two processors", func(vm *specs.VM) { vm.HwConfig.VCPUs = &two }, "vm.hwconfig.vcpus 2: want 1: a machine has one processor"},
		{"a device tree", func(vm *specs.VM) { vm.HwConfig.DeviceTree = "/x" }, "vm.hwconfig: want no deviceTree, dtdevs, iomems or irqs"},
		{"memory that is no pages", func(vm *specs.VM) { vm.HwConfig.Memory = &odd }, "vm.hwconfig.memory of 4097 bytes: want a multiple of 4096 above 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := made(t, spec(vm(tt.change)), imageFiles(t)).Command(commandDir(t))
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// TestVMObjectNeedsNoRoot: a machine is described without a root file system.
func TestVMObjectNeedsNoRoot(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "k"), kernelImage())
	write(t, filepath.Join(dir, Config), fmt.Appendf(nil, `{"ociVersion": "1.3.0", "vm": {"kernel": {"path": %q}}}`, filepath.Join(dir, "k")))
	b, err := Read(dir)
	require.NoError(t, err)
	assert.Empty(t, b.Root)
	assert.Equal(t, "/dev/fd/3", plain(command(t, b)))
}

// TestForeign: a pod's sandbox, and what has nothing of Kapsel's.
func TestForeign(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*specs.Spec)
		reason string
	}{
		{"a sandbox of containerd", annotated("io.kubernetes.cri.container-type", "sandbox"), "a pod's sandbox, by annotation io.kubernetes.cri.container-type"},
		{"a sandbox of CRI-O", annotated("io.kubernetes.cri-o.ContainerType", "sandbox"), "a pod's sandbox, by annotation io.kubernetes.cri-o.ContainerType"},
		{"a sandbox whose pod has words", annotated("io.kubernetes.cri.container-type", "sandbox", "org.kapsel.kernel", "/kernel"), "a pod's sandbox, by annotation io.kubernetes.cri.container-type"},
		{"a script", args("/bin/tool"), `no word says what Kapsel runs, and "/bin/tool" in the root file system is neither a Kapsel image nor a task`},
		{"a program of Linux", args("/elf"), `"/elf" in the root file system is neither a Kapsel image nor a task`},
		{"an empty file", args("/empty"), `is neither a Kapsel image nor a task`},
		{"a name to be searched for", args("sh"), `"/sh" in the root file system: no such file or directory`},
		{"a directory", args("/bin"), `"/bin" in the root file system: want a file, found a directory`},
		{"words of others", func(s *specs.Spec) { annotated("org.kapselX.kernel", "/kernel")(s); args("/bin/tool")(s) }, "no word says what Kapsel runs"},
		{"words that name no program", func(s *specs.Spec) { annotated("org.kapsel.memory", "16M")(s); args("/bin/tool")(s) }, "no word says what Kapsel runs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := made(t, spec(args("/kernel"), tt.change), imageFiles(t))
			foreign, reason, err := b.Foreign()
			require.NoError(t, err)
			assert.True(t, foreign)
			assert.Contains(t, reason, tt.reason)
		})
	}
	foreign, reason, err := made(t, spec(args("/kernel"), annotated("io.kubernetes.cri.container-type", "container")), imageFiles(t)).Foreign()
	require.NoError(t, err)
	assert.False(t, foreign, reason)
}

// TestOursButWrong: what is named as Kapsel's and cannot be run is an error, not another runtime's.
func TestOursButWrong(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*specs.Spec)
		file   string
		want   string
	}{
		{"a task that is none", args("/broken.tbf"), "", `process.args: task "/broken.tbf": want a task in Tock Binary Format`},
		{"a task that is not there", args("/missing.tbf"), "", `"/missing.tbf" in the root file system: no such file or directory`},
		{"a kernel that is a task", annotated("org.kapsel.kernel", "/one.tbf"), "", `annotations: kernel "/one.tbf": want a Kapsel image, which mkimage makes; a task is named by tasks`},
		{"a kernel that is not there", annotated("org.kapsel.kernel", "/missing"), "", `annotations: kernel: "/missing" in the root file system: no such file or directory`},
		{"a task that is a kernel", annotated("org.kapsel.tasks", "/kernel"), "", `annotations: task "/kernel": want a task in Tock Binary Format`},
		{"too many tasks", annotated("org.kapsel.tasks", strings.Repeat("/one.tbf ", 65)), "", `annotations: 65 files of tasks: want at most 64`},
		{"a command line too long", annotated("org.kapsel.kernel", "/kernel", "org.kapsel.cmdline", strings.Repeat("x", 2049)), "", "the kernel's command line: want at most 2048 bytes and no NUL, found 2049"},
		{"more arguments than a machine has room for", func(s *specs.Spec) { args("/kernel", strings.Repeat("x", 65<<10))(s) }, "", "process.args and process.env: arguments and environment of 66561 bytes"},
		{"rng that is neither", annotated("org.kapsel.kernel", "/kernel", "org.kapsel.rng", "yes"), "", `org.kapsel.rng "yes": want true or false`},
		{"kapsel.json that is no JSON", args("/kernel"), "kernel: /kernel", `"/kapsel.json" in the root file system: want an object of strings, as {"kernel": "/kapsel.elf", "memory": "64M"}: invalid character`},
		{"kapsel.json with another type", args("/kernel"), `{"tasks": ["/one.tbf"]}`, "want an object of strings"},
		{"kapsel.json with another word", args("/kernel"), `{"Kernel": "/kernel"}`, `no word "Kernel": want kernel, tasks, snapshot, cmdline, memory, net, rng`},
		{"kapsel.json with more behind", args("/kernel"), `{} {}`, "want one object, found more behind it"},
		{"kapsel.json with a brace behind", args("/kernel"), `{}}`, "want one object, found more behind it"},
		{"kapsel.json too large", args("/kernel"), `{}` + strings.Repeat(" ", maxKapselFile), "more than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := imageFiles(t)
			if tt.file != "" {
				content[kapselFile] = []byte(tt.file)
			}
			b := made(t, spec(args("/kernel"), tt.change), content)
			_, err := b.Command(commandDir(t))
			assert.ErrorContains(t, err, tt.want)
			foreign, _, _ := b.Foreign()
			assert.False(t, foreign)
		})
	}
}

// TestHostileImage: an image whose names lead elsewhere, or to what is no file, gets nothing of the host's, and nobody waits for it.
func TestHostileImage(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.tbf")
	write(t, secret, object(t))
	for _, tt := range []struct {
		name string
		make func(root string) error
		want string
	}{
		{"a link to a file of the host", func(root string) error { return os.Symlink(secret, filepath.Join(root, "x.tbf")) }, "no such file or directory"},
		{"a link above the root", func(root string) error {
			return os.Symlink(strings.Repeat("../", 40)+secret, filepath.Join(root, "x.tbf"))
		}, "no such file or directory"},
		{"a link to itself", func(root string) error { return os.Symlink("x.tbf", filepath.Join(root, "x.tbf")) }, "too many levels of symbolic links"},
		{"a directory", func(root string) error { return os.Mkdir(filepath.Join(root, "x.tbf"), 0o755) }, "want a file, found a directory"},
		{"a pipe", func(root string) error { return unix.Mkfifo(filepath.Join(root, "x.tbf"), 0o600) }, "want a file, found one of another kind (p"},
		{"a socket", func(root string) error {
			return unix.Mknod(filepath.Join(root, "x.tbf"), unix.S_IFSOCK|0o600, 0)
		}, "want a file, found one of another kind (S"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, named := range []struct {
				how    string
				change func(*specs.Spec)
			}{{"argument", args("/x.tbf")}, {"kernel", annotated("org.kapsel.kernel", "/x.tbf")}, {"task", annotated("org.kapsel.tasks", "/x.tbf")}} {
				b := made(t, spec(named.change), nil)
				require.NoError(t, tt.make(b.Root))
				_, err := b.Command(commandDir(t))
				assert.ErrorContains(t, err, tt.want, named.how)
			}
			b := made(t, spec(annotated("org.kapsel.tasks", "/a")), map[string][]byte{"a": object(t)})
			require.NoError(t, tt.make(b.Root))
			require.NoError(t, os.Rename(filepath.Join(b.Root, "x.tbf"), filepath.Join(b.Root, kapselFile)))
			words, err := b.fileWords()
			assert.Empty(t, words)
			if strings.HasPrefix(tt.want, "want") { // a link that leads to nothing is as none
				assert.ErrorContains(t, err, tt.want)
			}
		})
	}
}

// TestLinksWithinAnImage: a link leads to what it would if the image were all there is; a magic link of proc leads nowhere.
func TestLinksWithinAnImage(t *testing.T) {
	b := made(t, spec(args("/link")), imageFiles(t))
	require.NoError(t, os.Symlink("/kernel", filepath.Join(b.Root, "link")))
	assert.Equal(t, "/dev/fd/3", plain(command(t, b)))

	own, err := os.Executable()
	require.NoError(t, err)
	_, err = openWithin("/", own, false)
	require.NoError(t, err)
	_, err = openWithin("/", "/proc/self/exe", false)
	assert.ErrorIs(t, err, unix.ELOOP)
}
