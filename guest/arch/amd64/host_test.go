//go:build !kapsel

package amd64

import (
	"encoding/binary"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// ram is the physical memory of a test, from physical 0.
type ram []byte

// newRAM makes size bytes the memory behind the window for the length of the test.
func newRAM(t *testing.T, size int) ram {
	t.Helper()
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	before := window
	window = addressOf(&b[0])
	t.Cleanup(func() {
		window = before
		require.NoError(t, syscall.Munmap(b))
	})
	return b
}

func (r ram) put64(phys uint64, words ...uint64) {
	for i, w := range words {
		binary.LittleEndian.PutUint64(r[phys+8*uint64(i):], w)
	}
}

// word is the 8 bytes at a physical address.
func (r ram) word(phys uint64) uint64 { return binary.LittleEndian.Uint64(r[phys:]) }

// newHostCPU gives the test a processor and task contexts of its own.
func newHostCPU(t *testing.T) *processor {
	t.Helper()
	before := hostCPU
	hostCPU = newProcessor()
	pending, running, ready = 0, nil, nil
	for slot := range contexts {
		contexts[slot] = new(context)
	}
	t.Cleanup(func() {
		hostCPU = before
		pending, running = 0, nil
		clear(contexts[:])
	})
	return hostCPU
}

// syscallEntry does what the entry code of that name does. It reports whether the task goes on at
// once; the results are in its context in any case.
func syscallEntry(x *context, class abi.Class, words ...uint64) (on bool) {
	var w [4]uint64
	copy(w[:], words)
	x.came = cameBySyscall
	w[0], w[1], w[2], w[3], on = kernel.SystemCall(attached, class, w[0], w[1], w[2], w[3])
	x.results = w
	on = on && x == ready
	hostCPU.served = !on
	return on
}

// int40 does what the entry code of that name does, for 32-bit code of a 32-bit task.
func int40(x *context) (on bool) {
	x.came = cameByInt40
	on = systemCall32(x)
	hostCPU.served = !on
	return on
}

// stops runs f, which must end the machine, and returns what was printed and the status.
func stops(t *testing.T, f func()) (console string, status uint32) {
	t.Helper()
	require.PanicsWithValue(t, halted{}, f, "the machine went on")
	require.Len(t, hostCPU.statuses, 1, "writes to the debug-exit port")
	return string(hostCPU.console), hostCPU.statuses[0]
}

// newCPU makes a CPU whose page tables lie in r from physical 1 MiB to the end, with a
// kernel space of one page.
func newCPU(t *testing.T, r ram, pcid bool) *CPU {
	t.Helper()
	m := &Machine{}
	m.TaskRAM.Low = r[1<<20:]
	m.kernel.ram = &m.TaskRAM
	root, ok := m.kernel.takeFrame()
	require.True(t, ok)
	m.kernel.root = root
	require.True(t, m.kernel.mapRange(abi.KernelBase, 0, pageSize, kernelR))
	m.features.pcid = pcid
	m.CPU.init(m)
	for slot := range m.CPU.spaces {
		m.CPU.spaces[slot].ram = &m.TaskRAM
	}
	return &m.CPU
}

// A region is a run of mapped pages of one kind, found by reading page tables as the
// processor does (SDM vol. 3, 4.5.4): independent of the code under test.
type region struct {
	virt, phys, size uint64
	page             uint64 // size of a page
	rights           string // of "rwxugd": read, write, execute, user, global, device
}

// walk returns all that is mapped below root, in the order of addresses.
func (r ram) walk(root uint64) []region {
	var found []region
	r.walkTable(root, 39, 0, true, true, false, &found)
	return found
}

func (r ram) walkTable(table uint64, shift uint, virt uint64, write, user, noExecute bool, found *[]region) {
	for i := uint64(0); i < 512; i++ {
		e := r.word(table + 8*i)
		if e&1 == 0 {
			continue
		}
		at := virt | i<<shift
		if shift == 39 && i >= 256 {
			at |= 0xffff << 48
		}
		w, u, nx := write && e>>1&1 == 1, user && e>>2&1 == 1, noExecute || e>>63 == 1
		if leaf := shift == 12 || shift < 39 && e>>7&1 == 1; !leaf {
			r.walkTable(e&0x000f_ffff_ffff_f000, shift-9, at, w, u, nx, found)
			continue
		}
		rights := "r"
		for _, x := range []struct {
			have   bool
			letter string
		}{{w, "w"}, {!nx, "x"}, {u, "u"}, {e>>8&1 == 1, "g"}, {e>>3&3 == 3, "d"}} {
			if x.have {
				rights += x.letter
			}
		}
		size := uint64(1) << shift
		*found = join(*found, region{at, e & 0x000f_ffff_ffff_f000 &^ (size - 1), size, size, rights})
	}
}

// join adds a page, to the last region if it continues that.
func join(found []region, p region) []region {
	if len(found) > 0 {
		last := &found[len(found)-1]
		if last.virt+last.size == p.virt && last.phys+last.size == p.phys && last.page == p.page && last.rights == p.rights {
			last.size += p.size
			return found
		}
	}
	return append(found, p)
}

// access reports whether virt may be read ("r"), written ("w") or executed ("x").
func access(found []region, virt uint64, kind byte) bool {
	for _, f := range found {
		if virt >= f.virt && virt-f.virt < f.size {
			for i := range len(f.rights) {
				if f.rights[i] == kind {
					return true
				}
			}
		}
	}
	return false
}

// text collects what is written for a person.
type text struct{ s string }

func (w *text) WriteString(s string) { w.s += s }

func (w *text) WriteChars(chars uint64, n int) {
	w.s += string(binary.LittleEndian.AppendUint64(nil, chars)[:n])
}

var _ kernel.Writer = (*text)(nil)
