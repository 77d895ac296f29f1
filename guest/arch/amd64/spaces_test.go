//go:build !kapsel

package amd64

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// kernelHalf is what newCPU maps for the kernel.
var kernelHalf = region{abi.KernelBase, 0, pageSize, pageSize, "rg"}

func TestSpacesShareTheKernelAndNothingElse(t *testing.T) {
	r := newRAM(t, 4*mib)
	c := newCPU(t, r, false)
	for slot := range 3 {
		require.True(t, c.Reserve(slot, abi.FlashStart, 4*pageSize))
		require.True(t, c.Reserve(slot, abi.RAMStart, 4*pageSize))
	}
	c.Map(0, abi.FlashStart, r[0x10000:0x12000], kernel.ReadExecute)
	c.Map(0, abi.RAMStart, r[0x20000:0x23000], kernel.ReadWrite)
	c.Map(1, abi.FlashStart, r[0x10000:0x12000], kernel.ReadExecute)
	c.Map(1, abi.RAMStart, r[0x30000:0x31000], kernel.ReadWrite)

	assert.Equal(t, []region{
		{abi.FlashStart, 0x10000, 0x2000, pageSize, "rxu"},
		{abi.RAMStart, 0x20000, 0x3000, pageSize, "rwu"},
		kernelHalf,
	}, r.walk(c.spaces[0].root))
	assert.Equal(t, []region{
		{abi.FlashStart, 0x10000, 0x2000, pageSize, "rxu"},
		{abi.RAMStart, 0x30000, 0x1000, pageSize, "rwu"},
		kernelHalf,
	}, r.walk(c.spaces[1].root))
	assert.Equal(t, []region{kernelHalf}, r.walk(c.spaces[2].root), "a space with nothing mapped")
	assert.Equal(t, []region{kernelHalf}, r.walk(c.kernel.root), "the kernel's own space")

	for a := range 3 {
		for b := range a {
			for entry := uint64(0); entry < 256; entry++ {
				ea, eb := r.word(c.spaces[a].root+8*entry), r.word(c.spaces[b].root+8*entry)
				assert.False(t, ea != 0 && ea == eb, "spaces %d and %d share the tables of the low half's entry %d", a, b, entry)
			}
			assert.Equal(t, []byte(r[c.spaces[b].root+2048:][:2048]), []byte(r[c.spaces[a].root+2048:][:2048]), "upper halves")
		}
	}
}

func TestUnmapAndMapAnew(t *testing.T) {
	r := newRAM(t, 4*mib)
	c := newCPU(t, r, false)
	require.True(t, c.Reserve(0, abi.RAMStart, 8*pageSize))
	c.Map(0, abi.RAMStart, r[0x20000:0x28000], kernel.ReadWrite)

	c.Unmap(0, abi.RAMStart+6*pageSize, 2*pageSize)
	assert.Equal(t, []region{{abi.RAMStart, 0x20000, 0x6000, pageSize, "rwu"}, kernelHalf}, r.walk(c.spaces[0].root))

	c.Map(0, abi.RAMStart+pageSize, r[0x40000:0x41000], kernel.ReadExecute)
	assert.Equal(t, []region{
		{abi.RAMStart, 0x20000, 0x1000, pageSize, "rwu"},
		{abi.RAMStart + pageSize, 0x40000, 0x1000, pageSize, "rxu"},
		{abi.RAMStart + 2*pageSize, 0x22000, 0x4000, pageSize, "rwu"},
		kernelHalf,
	}, r.walk(c.spaces[0].root), "Map replaces what was there")

	c.Unmap(0, abi.RAMStart, 8*pageSize)
	assert.Equal(t, []region{kernelHalf}, r.walk(c.spaces[0].root))
}

// What is not present holds no address, so that L1TF leads to page 0 (docs/security.md).
func TestEntriesThatAreNotPresentAreZero(t *testing.T) {
	r := newRAM(t, 4*mib)
	c := newCPU(t, r, false)
	require.True(t, c.Reserve(0, abi.RAMStart, 8*pageSize))
	c.Map(0, abi.RAMStart, r[0x20000:0x28000], kernel.ReadWrite)
	c.Unmap(0, abi.RAMStart+2*pageSize, 5*pageSize)
	present := 0
	for at := uint64(1 << 20); at < physicalOf(c.spaces[0].ram.Low); at += 8 {
		switch e := r.word(at); {
		case e&1 == 1:
			present++
		case e != 0:
			t.Errorf("the entry at %#x is %#x", at, e)
		}
	}
	assert.Greater(t, present, 3, "some are present")
}

func TestReserveReportsThatFramesRanOut(t *testing.T) {
	r := newRAM(t, 4*mib)
	c := newCPU(t, r, false)
	left := c.spaces[0].ram.Low
	frames := func(n int) { c.spaces[0].ram.Low = left[:n*pageSize] }
	frames(0)
	assert.False(t, c.Reserve(0, abi.RAMStart, pageSize), "no frame for the top table")
	frames(3)
	assert.False(t, c.Reserve(0, abi.RAMStart, pageSize), "no frame for the last table")
	c.spaces[0].ram.Low = left[3*pageSize : 4*pageSize]
	assert.True(t, c.Reserve(0, abi.RAMStart, pageSize))
	assert.True(t, c.Reserve(0, abi.RAMStart, 2*mib), "the tables are there already")
}

// Most emulators have no process-context identifiers, so these two are the proof that CR3 is
// right where there are some (SDM vol. 3, 4.10.4.1).

func TestCR3WithoutPCID(t *testing.T) {
	newHostCPU(t)
	r := newRAM(t, 4*mib)
	c := newCPU(t, r, false)
	require.True(t, c.Reserve(3, abi.RAMStart, pageSize))
	root := c.spaces[3].root
	for _, stale := range []bool{false, true} {
		c.spaces[3].stale = stale
		writeCR3((&c.spaces[3]).load(c.keep))
		assert.Equal(t, root, hostCPU.cr3, "the table's address alone; stale %v", stale)
	}
}

func TestCR3WithPCID(t *testing.T) {
	newHostCPU(t)
	r := newRAM(t, 4*mib)
	c := newCPU(t, r, true)
	seen := map[uint64]int{0: -1} // the kernel has identifier 0
	for slot := range kernel.MaxTasks {
		require.True(t, c.Reserve(slot, abi.RAMStart, pageSize))
		assert.Zero(t, c.spaces[slot].root&0xfff, "the table is page aligned")

		writeCR3((&c.spaces[slot]).load(c.keep))
		keep := hostCPU.cr3
		assert.EqualValues(t, 1, keep>>63, "bit 63: what the processor remembers of slot %d still holds", slot)
		assert.Equal(t, c.spaces[slot].root, keep&0x000f_ffff_ffff_f000)
		id := keep & 0xfff
		assert.NotContains(t, seen, id, "slot %d has an identifier of its own", slot)
		seen[id] = slot

		c.Map(slot, abi.RAMStart, r[0x20000:0x21000], kernel.ReadWrite)
		writeCR3((&c.spaces[slot]).load(c.keep))
		assert.Equal(t, keep&^(1<<63), hostCPU.cr3, "after Map the processor forgets slot %d", slot)
		c.Unmap(slot, abi.RAMStart, pageSize)
		writeCR3((&c.spaces[slot]).load(c.keep))
		assert.Equal(t, keep&^(1<<63), hostCPU.cr3, "after Unmap likewise")
	}
}

// TestSpacesShareAllRAM: a task's top table has all of the kernel's half, wherever RAM ends.
func TestSpacesShareAllRAM(t *testing.T) {
	for _, end := range []uint64{abi.MMIOHoleEnd, 512 * gib, 512*gib + pageSize, 1026 * gib, abi.RAMEnd} {
		t.Run(fmt.Sprintf("%#x", end), func(t *testing.T) {
			r := newRAM(t, 4*mib)
			c := newCPU(t, r, false)
			c.ramEnd = end
			for _, phys := range []uint64{0, end - pageSize} { // there may be a hole in between
				require.True(t, c.kernel.mapRange(abi.DirectMap+phys, phys, pageSize, kernelRW))
			}
			require.True(t, c.Reserve(0, abi.RAMStart, pageSize))
			assert.Equal(t, r.walk(c.kernel.root), r.walk(c.spaces[0].root))
		})
	}
}

// TestTablesByNeed: a task takes frames for what it has, however many slots there are, and for
// what is lent to it once that is lent.
func TestTablesByNeed(t *testing.T) {
	const window = abi.LoanEnd - abi.LoanStart
	for _, tt := range []struct {
		name           string
		flashAt, ramAt uint64
		flash, ram     uint64 // bytes
		own, lent      uint64 // frames for these, and for loans from all slots
	}{
		{"where tasks are", abi.FlashStart, abi.RAMStart, 2 * pageSize, 6 * pageSize, 6, window / largePage},
		{"a Go task's RAM is behind its flash", abi.FlashStart, abi.FlashStart + 2*pageSize, 2 * pageSize, 6 * pageSize, 4, window / largePage},
		{"across ends of tables", 3*gib - pageSize, 5*gib - pageSize, 2 * pageSize, 2 * pageSize, 10, 1 + window/largePage},
		{"nearly 4 GiB", abi.FlashStart, 4*gib - pageSize, pageSize, 4*gib - pageSize, 2 + 2 + 5 + 2049, window / largePage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCPU(t, newRAM(t, 64*mib), false)
			last := &c.spaces[kernel.MaxTasks-1]
			before := framesLeft(last)
			require.True(t, c.Reserve(kernel.MaxTasks-1, tt.flashAt, tt.flash))
			require.True(t, c.Reserve(kernel.MaxTasks-1, tt.ramAt, tt.ram))
			own := framesLeft(last)
			assert.Equal(t, tt.own, before-own, "frames for its own")
			require.True(t, c.Reserve(kernel.MaxTasks-1, abi.LoanStart, window))
			assert.Equal(t, tt.lent, own-framesLeft(last), "frames for loans")
		})
	}
}

// TestNewTask: what is known of a task takes a page, which is clean, and its context lies as the
// processor wants it.
func TestNewTask(t *testing.T) {
	newHostCPU(t)
	r := newRAM(t, 4*mib)
	c := newCPU(t, r, false)
	free := kernel.RAM{Low: r[2*mib:][:2*pageSize]}
	first, second := c.NewTask(0, &free), c.NewTask(kernel.MaxTasks-1, &free)
	require.NotNil(t, first)
	require.NotNil(t, second)
	assert.NotSame(t, first, second)
	assert.NotSame(t, contexts[0], contexts[kernel.MaxTasks-1])
	assert.Equal(t, kernel.Unused, first.State())
	assert.Equal(t, make([]byte, 2*pageSize), []byte(r[2*mib:][:2*pageSize]))
	assert.Nil(t, c.NewTask(1, &free), "no memory is left")
}
