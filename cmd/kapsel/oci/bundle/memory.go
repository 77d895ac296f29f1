package bundle

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"kapsel/files"
	"kapsel/guest/abi"
	"kapsel/vmm"
)

// overhead is what the monitor, and the host's kernel on its behalf, need beside the guest's memory, in bytes.
const overhead = 64 << 20

// leastMemory is the least memory of a guest that a container's limit is to leave, in bytes.
const leastMemory = 8 << 20

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
	case limit != 0 && limit < overhead+leastMemory:
		return fmt.Errorf("a memory limit of %s: the monitor needs %s and a guest %s: want %s or more",
			files.Size(limit), files.Size(overhead), files.Size(leastMemory), files.Size(overhead+leastMemory))
	case limit != 0 && size > limit-overhead:
		return fmt.Errorf("%s %s: with the %s that the monitor needs, more than the memory limit of %s: want at most %s, or a larger limit",
			name, files.Size(size), files.Size(overhead), files.Size(limit), files.Size(abi.PageDown(limit-overhead)))
	case size == 0 && limit != 0:
		size = abi.PageDown(min(limit-overhead, vmm.MaxMemory))
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
	if vm := b.Spec.VM; vm != nil && vm.HwConfig != nil && vm.HwConfig.Memory != nil {
		name = "vm.hwconfig.memory"
		size, err = *vm.HwConfig.Memory, nil
	} else if text := words[wordMemory]; text != "" {
		name = prefix + wordMemory
		if size, err = parseSize(text); err != nil {
			return 0, "", fmt.Errorf("%s %.40q: %w", name, text, err)
		}
	} else {
		return 0, "", nil
	}
	if size == 0 || size%abi.PageSize != 0 || size > vmm.MaxMemory {
		return 0, "", fmt.Errorf("%s of %d bytes: want a multiple of %d above 0, and at most %s", name, size, abi.PageSize, files.Size(vmm.MaxMemory))
	}
	return size, name, nil
}

// parseSize reads bytes, or a number with K, M or G.
func parseSize(text string) (uint64, error) {
	digits, unit := text, uint64(1)
	if i := strings.IndexAny(text, "KMGkmg"); i >= 0 && i == len(text)-1 {
		digits, unit = text[:i], map[byte]uint64{'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}[text[i]&^0x20]
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > math.MaxUint64/unit {
		return 0, fmt.Errorf("want a size as 64M: bytes, or a number with K, M or G")
	}
	return n * unit, nil
}
