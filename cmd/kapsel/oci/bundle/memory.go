package bundle

import (
	"fmt"
	"strconv"

	"kapsel/files"
	"kapsel/guest/abi"
	"kapsel/vmm"
)

// What a memory limit is to have room for beside the guest's memory, in bytes: the monitor, which is 9 MiB with KVM and 24 MiB with QEMU, and the text of its program, which is read from
// the disk again and again where there is no room for it; and the page tables and reverse maps that the host's kernel has for the guest's memory, 1/64 of it at the most.
const (
	monitorMemory = 48 << 20
	tablesPart    = 64
)

// leastMemory is the least memory of a guest that a limit is to leave, in bytes: more than the kernel with two tasks needs.
const leastMemory = 8 << 20

// leastLimit is the least limit with which a container starts.
const leastLimit = monitorMemory + leastMemory + leastMemory/tablesPart

// guestMemory is the most memory of a guest, in bytes, that a limit of at least leastLimit has room for: a multiple of the page size.
func guestMemory(limit uint64) uint64 {
	rest := limit - monitorMemory
	return min(abi.PageDown(rest-rest/(tablesPart+1)), vmm.MaxMemory)
}

// addMemory adds the guest's memory: what is asked for, else what the limit leaves, else the default.
func (b *Bundle) addMemory(c *Command, p program, words map[string]string) error {
	limit := b.memoryLimit()
	if p.snapshot != "" {
		if words[wordMemory] != "" {
			return fmt.Errorf("%s%s: a snapshot has its memory: want none", prefix, wordMemory)
		}
		return nil
	}
	size, name, err := b.memoryAsked(words)
	switch {
	case err != nil:
		return err
	case limit != 0 && limit < leastLimit:
		return fmt.Errorf("a memory limit of %d bytes: want %d or more, of which the monitor needs %s and a guest %s",
			limit, leastLimit, files.Size(monitorMemory), files.Size(leastMemory))
	case limit != 0 && size > guestMemory(limit):
		return fmt.Errorf("%s %s: a memory limit of %d bytes leaves a guest %s beside the monitor: want at most that, or a larger limit",
			name, files.Size(size), limit, files.Size(guestMemory(limit)))
	case size == 0 && limit != 0:
		size = guestMemory(limit)
	case size == 0:
		size = vmm.DefaultMemory
	}
	c.Memory = size
	c.Args = append(c.Args, "--mem="+strconv.FormatUint(size, 10))
	return nil
}

// memoryLimit is the container's limit in bytes, 0 for none.
func (b *Bundle) memoryLimit() uint64 {
	l := b.Spec.Linux
	if l == nil || l.Resources == nil || l.Resources.Memory == nil || l.Resources.Memory.Limit == nil || *l.Resources.Memory.Limit <= 0 {
		return 0
	}
	return uint64(*l.Resources.Memory.Limit)
}

// memoryAsked is the memory that the vm object or the word asks for, and the name by which; 0 for none.
func (b *Bundle) memoryAsked(words map[string]string) (size uint64, name string, err error) {
	text := words[wordMemory]
	switch vm := b.Spec.VM; {
	case vm != nil && vm.HwConfig != nil && vm.HwConfig.Memory != nil:
		size, name = *vm.HwConfig.Memory, "vm.hwconfig.memory"
	case text != "":
		if size, err = parseMemory(text); err != nil {
			return 0, "", err
		}
		name = prefix + wordMemory
	default:
		return 0, "", nil
	}
	return size, name, checkMemory(size, name)
}

// parseMemory reads the word for the memory.
func parseMemory(text string) (uint64, error) {
	n, unit, ok := files.ParseSize(text)
	if !ok {
		return 0, fmt.Errorf("%s%s %.40q: want a size as 64M: bytes, or a number with K, M or G", prefix, wordMemory, text)
	}
	return n * unit, nil
}

// checkMemory refuses what is no size of a guest's memory.
func checkMemory(size uint64, name string) error {
	if size == 0 || size%abi.PageSize != 0 || size > vmm.MaxMemory {
		return fmt.Errorf("%s of %d bytes: want a multiple of %d above 0, and at most %s", name, size, abi.PageSize, files.Size(vmm.MaxMemory))
	}
	return nil
}
