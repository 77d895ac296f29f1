package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tab"
	"kapsel/vmm/image"
)

// program is what a container runs, and where that was found.
type program struct {
	from     string // for errors
	host     bool   // kernel and tasks are paths of the host, else in the root file system
	kernel   string // empty: the one that comes with the command
	tasks    []string
	snapshot string // in the place of kernel and tasks
}

// sandboxes are annotations by which engines mark a pod's sandbox, a container that holds the pod's namespaces and runs a program that waits.
var sandboxes = []string{
	"io.kubernetes.cri.container-type",  // containerd
	"io.kubernetes.cri-o.ContainerType", // CRI-O
}

// Foreign reports whether the container is none of Kapsel's, and why: a pod's sandbox, or one whose image has nothing that Kapsel runs.
func (b *Bundle) Foreign() (foreign bool, reason string, err error) {
	for _, name := range sandboxes {
		if b.Spec.Annotations[name] == "sandbox" {
			return true, fmt.Sprintf("a pod's sandbox, by annotation %s", name), nil
		}
	}
	words, from, _, err := b.words()
	if err != nil {
		return false, "", err
	}
	_, reason, err = b.program(words, from)
	return reason != "", reason, err
}

// program finds what runs: by the vm object of the configuration, else the words, else the first argument. If nothing of Kapsel's does, reason says why.
func (b *Bundle) program(words map[string]string, from string) (p program, reason string, err error) {
	if b.Spec.VM != nil {
		p, err = b.vmProgram()
		return p, "", err
	}
	p = program{from: from, kernel: words[wordKernel], tasks: strings.Fields(words[wordTasks]), snapshot: words[wordSnapshot]}
	switch {
	case p.snapshot != "" && (p.kernel != "" || len(p.tasks) > 0):
		return p, "", fmt.Errorf("%s: a snapshot has its kernel and its tasks: want %s alone, or %s and %s", from, wordSnapshot, wordKernel, wordTasks)
	case p.kernel != "" || p.snapshot != "" || len(p.tasks) > 0:
		return p, "", nil
	case b.Spec.Process == nil:
		return p, "it has no process, and no word says what Kapsel runs", nil
	}
	return b.argument()
}

// argument is what the first argument names, relative to the process' working directory: an image, or tasks.
func (b *Bundle) argument() (p program, reason string, err error) {
	name := b.Spec.Process.Args[0]
	at := name
	if !path.IsAbs(at) {
		at = path.Join(b.Spec.Process.Cwd, at)
	}
	p.from = "process.args"
	task := slices.Contains([]string{".tbf", ".tab"}, path.Ext(name))
	f, err := openWithin(b.Root, at, false)
	if err != nil {
		if task {
			return p, "", err
		}
		return p, fmt.Sprintf("no word says what Kapsel runs, and %v", err), nil
	}
	defer f.Close()
	switch {
	case image.Is(f):
		p.kernel = at
	case task || isTasks(f):
		p.tasks = []string{at}
	default:
		return p, fmt.Sprintf("no word says what Kapsel runs, and %q in the root file system is neither a Kapsel image nor a task", at), nil
	}
	return p, "", nil
}

// isTasks reports whether a file begins as a task object does that ends within it, or as an archive of them.
func isTasks(f *os.File) bool {
	info, err := f.Stat()
	head := make([]byte, 512)
	n, _ := f.ReadAt(head, 0) // less, for a short file
	if head = head[:n]; err != nil || n < tbf.BaseSize {
		return false
	}
	version, size := binary.LittleEndian.Uint16(head[tbf.OffsetVersion:]), int64(binary.LittleEndian.Uint32(head[tbf.OffsetTotalSize:]))
	return version == tbf.Version && size >= tbf.BaseSize && size <= info.Size() || tab.Is(head)
}

// vmProgram is what the vm object names. Its paths are the host's (config-vm.md).
func (b *Bundle) vmProgram() (program, error) {
	vm := b.Spec.VM
	p := program{from: "vm", host: true, kernel: vm.Kernel.Path}
	switch {
	case vm.Image != (specs.VMImage{}):
		return p, fmt.Errorf("vm.image %q: a guest has no root file system: want none; a bind mount of a file is a disk", vm.Image.Path)
	case !filepath.IsAbs(p.kernel):
		return p, fmt.Errorf("vm.kernel.path %q: want the absolute path of a Kapsel image", p.kernel)
	case vm.Kernel.InitRD != "" && !filepath.IsAbs(vm.Kernel.InitRD):
		return p, fmt.Errorf("vm.kernel.initrd %q: want the absolute path of a file of tasks (.tbf or .tab)", vm.Kernel.InitRD)
	case vm.Kernel.InitRD != "":
		p.tasks = []string{vm.Kernel.InitRD}
	}
	return p, checkHardware(vm.HwConfig)
}

// checkHardware refuses what a machine cannot have.
func checkHardware(hw *specs.HWConfig) error {
	switch {
	case hw == nil:
		return nil
	case hw.VCPUs != nil && *hw.VCPUs != 1:
		return fmt.Errorf("vm.hwconfig.vcpus %d: want 1: a machine has one processor", *hw.VCPUs)
	case hw.DeviceTree != "" || len(hw.DtDevs) > 0 || len(hw.IOMems) > 0 || len(hw.Irqs) > 0:
		return errors.New("vm.hwconfig: want no deviceTree, dtdevs, iomems or irqs: no device of the host is passed through")
	}
	return nil
}
