package kernel_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

func nothing(*kerneltest.Task) {}

func TestBadObjectsAreSkipped(t *testing.T) {
	object := func(change func(*tbfbuild.Spec)) func(testing.TB) []byte {
		return func(tb testing.TB) []byte { return kerneltest.Object(tb, "bad", change) }
	}
	fixed := func(ram, flash uint32) func(testing.TB) []byte {
		return object(func(s *tbfbuild.Spec) { s.FixedAddresses = &tbf.FixedAddresses{RAM: ram, Flash: flash} })
	}
	for name, c := range map[string]struct {
		object func(testing.TB) []byte
		reason string
	}{
		"checksum": {func(tb testing.TB) []byte {
			b := kerneltest.Object(tb, "bad", nil)
			b[12] ^= 1
			return b
		}, "bad object: header checksum is "},
		"disabled":       {object(func(s *tbfbuild.Spec) { s.Disabled = true }), "bad object: enabled flag is 0x0"},
		"kernel version": {object(func(s *tbfbuild.Spec) { s.KernelVersion.Minor = 99 }), "bad object: .*minor version is 0x63"},
		"32-bit, above 4 GiB": {object(func(s *tbfbuild.Spec) {
			s.ABI64, s.FixedAddresses = false, &tbf.FixedAddresses{RAM: 0xffff_b000, Flash: tbf.Unset}
		}), "would not end below 4 GiB"},
		"RAM":                            {object(func(s *tbfbuild.Spec) { s.MinimumRAM = 1 << 20 }), "not enough RAM left"},
		"most RAM":                       {object(func(s *tbfbuild.Spec) { s.MinimumRAM = 0xffff_ffff }), "would overlap|not enough RAM left"},
		"fixed RAM not on a page":        {fixed(0x9000_0010, tbf.Unset), "do not put flash and RAM on pages"},
		"fixed flash not on a page":      {fixed(tbf.Unset, 0x5000_0000), "do not put flash and RAM on pages"},
		"fixed flash without a header":   {fixed(tbf.Unset, 4), "leaves no room for its header"},
		"fixed RAM below 64 KiB":         {fixed(0x1000, tbf.Unset), "below 64 KiB"},
		"fixed RAM on the default flash": {fixed(abi.FlashStart, tbf.Unset), "would overlap"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.AddObject(c.object(t))
			m.AddTask("good", nothing, nil)
			assert.Equal(t, 1, m.Load(), "the next object makes a task")
			assert.Regexp(t, "^task object at offset 0x0 skipped: .*("+c.reason+").*\n", m.Log.String())
			assert.Contains(t, m.Log.String(), "good: flash 0x40000000..0x40001000, RAM 0x80000000..0x80005000, entry ")
			assert.False(t, m.Continue())
		})
	}
}

// TestLoadStops: what is no object ends the list, and unless it is blank a line says so.
func TestLoadStops(t *testing.T) {
	for name, c := range map[string]struct {
		tail []byte
		said string
	}{
		"at the end of the objects": {},
		"at zeros":                  {tail: make([]byte, 5000)},
		"at erased flash":           {tail: bytes.Repeat([]byte{0xff}, 5000)},
		"at a byte among zeros":     {append(make([]byte, 4999), 1), "no task object at offset 0x1000, nor looked for in the 5000 bytes from there on\n"},
		"at less than a header":     {[]byte{2, 0, 16}, "no task object at offset 0x1000, nor looked for in the 3 bytes from there on\n"},
		"at an object cut off":      {kerneltest.Object(t, "cut", nil)[:100], "no task object at offset 0x1000, nor looked for in the 100 bytes from there on\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.AddTask("task", nothing, nil)
			m.AddObject(c.tail)
			assert.Equal(t, 1, m.Load())
			log := m.Log.String()
			assert.Contains(t, log, c.said)
			assert.Equal(t, c.said != "", strings.Contains(log, "no task object"), log)
			assert.NotContains(t, log, "skipped")
		})
	}
}

func TestLastPageCutOff(t *testing.T) {
	const size = 0xf80 // fewer bytes than the page that they are on
	object := kerneltest.Object(t, "cut", func(s *tbfbuild.Spec) { s.Binary = s.Binary[:0x100] })
	o, err := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(err))
	program, _ := o.Program()
	binary.LittleEndian.PutUint16(object[program.BinaryEnd+2:], uint16(size-program.BinaryEnd-4)) // the padding
	binary.LittleEndian.PutUint32(object[tbf.OffsetTotalSize:], size)
	tbfbuild.Seal(object)
	m := newMachine(t)
	m.AddObject(object[:size])
	assert.Equal(t, 0, m.Load())
	assert.Contains(t, m.Log.String(), "skipped: its last page is cut off")
}

func TestPaddingIsPassedOver(t *testing.T) {
	padding := make([]byte, abi.PageSize)
	padding[0], padding[2], padding[5] = tbf.Version, tbf.BaseSize, 0x10
	tbfbuild.Seal(padding)
	m := newMachine(t)
	m.AddObject(padding)
	m.AddTask("task", nothing, nil)
	assert.Equal(t, 1, m.Load())
	assert.NotContains(t, m.Log.String(), "skipped")
}

func TestAllSlotsInUse(t *testing.T) {
	m := withRAM(t, 2<<20)
	for i := range kernel.MaxTasks {
		m.AddTask(fmt.Sprint("task", i), nothing, nil)
	}
	m.AddObject(kerneltest.Object(t, "more", nil))
	assert.Equal(t, kernel.MaxTasks, m.Load())
	assert.Contains(t, m.Log.String(), "skipped: all task slots are in use")
	assert.False(t, m.Continue())
}

func TestNoPageTables(t *testing.T) {
	m := newMachine(t)
	m.CPU.ReserveFails = true
	m.AddTask("task", nothing, nil)
	assert.Equal(t, 0, m.Load())
	assert.Contains(t, m.Log.String(), "skipped: not enough memory left for its page tables")
	assert.False(t, m.Continue(), "no task: Run returns")
}

func TestFixedAddresses(t *testing.T) {
	m := newMachine(t)
	header := kerneltest.Object(t, "fixed", func(s *tbfbuild.Spec) {
		s.FixedAddresses = &tbf.FixedAddresses{}
	})[2]
	m.AddTask("fixed", func(k *kerneltest.Task) {
		_, ram := k.Memop(abi.MemopRAMStart, 0)
		_, flash := k.Memop(abi.MemopFlashStart, 0)
		assert.Equal(t, []uint64{0x2004_0000, 0x1_0000}, []uint64{ram, flash})
		assert.Equal(t, uint64(0x1_0000)+uint64(header), k.Start.AppStart)
	}, func(s *tbfbuild.Spec) {
		s.FixedAddresses = &tbf.FixedAddresses{RAM: 0x2004_0000, Flash: 0x1_0000 + uint32(header)}
	})
	assert.False(t, m.Run())
}

func TestWriteableFlashRegions(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		variant, n := k.Memop(abi.MemopFlashRegions, 0)
		assert.Equal(t, [2]uint64{value, 1}, [2]uint64{variant, n})
		_, start := k.Memop(abi.MemopRegionStart, 0)
		_, end := k.Memop(abi.MemopRegionEnd, 0)
		assert.Equal(t, []uint64{abi.FlashStart + 0x2000, abi.FlashStart + 0x3000}, []uint64{start, end})
		k.Store(start, 1)
		k.Store(end-1, 2)
		assert.Equal(t, refused, k.AllowRW(probeDriver, 0, start, 8)[0], "it is no RAM")
		assert.Equal(t, allowed, k.AllowRO(probeDriver, 0, start, 8)[0])
		k.Store(end, 3)
	}, func(s *tbfbuild.Spec) {
		s.BinaryOffset = 0x1000
		s.Binary = make([]byte, 0x3000)
		s.Writeable = []tbf.Region{{Offset: 0x1000, Size: 0x1000}}
	})
	assert.False(t, m.Run())
	assert.Contains(t, m.Log.String(), "faulted: page fault: write at 0x40003000")
}

// TestWriteableFlashRegionsOfNoWholePages: elf2tab does not align them. The task runs, finds them by
// Memop, and reads them; it can write none but those of whole pages.
func TestWriteableFlashRegionsOfNoWholePages(t *testing.T) {
	regions := []tbf.Region{
		{Offset: 0x20, Size: 0x40},     // within a page
		{Offset: 0x1000, Size: 0x1000}, // whole pages
		{Offset: 0x1000, Size: 0x1800}, // begins with one
		{Offset: 0x1800, Size: 0x2000}, // has one inside
		{Offset: 0x2020},               // no bytes
	}
	const binary = 0x1000
	for _, write := range []struct {
		offset uint64
		fault  bool
	}{{0x20, true}, {0x5f, true}, {0x1000, false}, {0x1fff, false}, {0x2000, true}, {0x27ff, true}, {0x2fff, true}, {0x3000, true}} {
		m := newMachine(t)
		m.AddTask("task", func(k *kerneltest.Task) {
			variant, n := k.Memop(abi.MemopFlashRegions, 0)
			assert.Equal(t, [2]uint64{value, uint64(len(regions))}, [2]uint64{variant, n})
			for i, r := range regions {
				_, start := k.Memop(abi.MemopRegionStart, uint64(i))
				_, end := k.Memop(abi.MemopRegionEnd, uint64(i))
				if r.Size == 0 {
					assert.Equal(t, []uint64{uint64(abi.FAIL), uint64(abi.FAIL)}, []uint64{start, end})
					continue
				}
				first := abi.FlashStart + binary + uint64(r.Offset)
				assert.Equal(t, []uint64{first, first + uint64(r.Size)}, []uint64{start, end})
				assert.Equal(t, []byte{0, 0}, append(k.Load(start, 1), k.Load(end-1, 1)...))
			}
			k.Store(abi.FlashStart+binary+write.offset, 1)
		}, func(s *tbfbuild.Spec) {
			s.BinaryOffset, s.Binary, s.Writeable = binary, make([]byte, 0x4000), regions
		})
		assert.False(t, m.Run())
		assert.Regexp(t, `task 1 task: flash .*, can only read 3 of its 5 writeable flash regions: they are no whole pages\n`, m.Log.String())
		assert.Equal(t, write.fault, strings.Contains(m.Log.String(), "faulted: page fault: write at 0x4000"), "at %#x", write.offset)
	}
}

func TestPermissions(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{success}, k.Command(probeDriver, probeExists, 0, 0))
		assert.Equal(t, failed(abi.NODEVICE), k.Command(probeDriver, probeCount, 0, 0), "a command not listed")
		assert.Equal(t, failed(abi.NODEVICE), k.Command(otherDriver, probeExists, 0, 0), "a driver not listed")
		assert.Equal(t, swapped, k.Subscribe(probeDriver, 0, 0, 0)[0])
		assert.Equal(t, [4]uint64{unswapped, uint64(abi.NODEVICE), 0, 3}, k.Subscribe(otherDriver, 0, 0, 3))
		assert.Equal(t, [4]uint64{refused, uint64(abi.NODEVICE), 0, 0}, k.AllowRO(otherDriver, 0, 0, 0))
	}, func(s *tbfbuild.Spec) {
		s.Permissions = []tbf.Permission{{Driver: probeDriver, Mask: 1 << probeExists}}
	})
	assert.False(t, m.Run())
}

// TestPermissionWithoutCommands: an entry that has no command of a driver opens nothing of it.
func TestPermissionWithoutCommands(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, failed(abi.NODEVICE), k.Command(probeDriver, probeExists, 0, 0))
		assert.Equal(t, [4]uint64{unswapped, uint64(abi.NODEVICE), 0, 9}, k.Subscribe(probeDriver, 0, 0, 9))
		assert.Equal(t, [4]uint64{refused, uint64(abi.NODEVICE)}, k.AllowRW(probeDriver, 0, 0, 0))
	}, func(s *tbfbuild.Spec) { s.Permissions = []tbf.Permission{{Driver: probeDriver}} })
	assert.False(t, m.Run())
}

func TestWiringErrors(t *testing.T) {
	caps := capability.Mint()
	for name, wrong := range map[string]func(){
		"Init without a CPU":          func() { new(kernel.Kernel).Init(kernel.Config{}) },
		"Run without its capability":  func() { new(kernel.Kernel).Run(capability.MainLoop{}) },
		"Load without its capability": func() { new(kernel.Kernel).Load(nil, capability.TaskManagement{}) },
		"a grant without its capability": func() {
			new(probe).grant.Init(new(kernel.Kernel), 1, kernel.SlotCounts{}, capability.MemoryAllocation{})
		},
		"a grant made twice": func() {
			p, k := new(probe), new(kernel.Kernel)
			p.grant.Init(k, 1, kernel.SlotCounts{}, caps.MemoryAllocation)
			p.grant.Init(k, 1, kernel.SlotCounts{}, caps.MemoryAllocation)
		},
		"a grant made after Load": func() {
			m := newMachine(t)
			m.Load()
			new(probe).grant.Init(&m.Kernel, 1, kernel.SlotCounts{}, caps.MemoryAllocation)
		},
		"a kernel that a capsule makes anew, with a CPU of its own": func() {
			m := newMachine(t)
			m.Kernel.Init(kernel.Config{CPU: &m.CPU, Platform: m, Scheduler: &kernel.RoundRobin{}, Policy: m, Credentials: m, Identity: m, Debug: &m.Log})
		},
		"a deferred call set before it is registered": func() { new(kernel.DeferredCall).Set() },
		"a deferred call registered twice": func() {
			d, k := new(kernel.DeferredCall), new(kernel.Kernel)
			d.Register(k, nil)
			d.Register(k, nil)
		},
		"65 deferred calls": func() {
			k := new(kernel.Kernel)
			for range 65 {
				new(kernel.DeferredCall).Register(k, nil)
			}
		},
	} {
		assert.Panics(t, wrong, name)
	}
}
