//go:build !kapsel

package amd64

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// TestFreeSpace: all tables of a slot are given back, and those of others and the kernel's stay; the processor does not use them any more, and
// forgets what it remembers of them before the slot's next tables are used.
func TestFreeSpace(t *testing.T) {
	newHostCPU(t)
	r := newRAM(t, 16*mib)
	c := newCPU(t, r, true)
	ram := c.spaces[0].ram
	var reuse kernel.Reuse
	reuse.Init(ram, c)
	free := reuse.Free()
	for slot := range 2 {
		require.NotNil(t, c.NewTask(slot, ram))
	}
	require.True(t, c.Reserve(0, abi.RAMStart, 4*pageSize))
	c.Map(0, abi.RAMStart, r[0x10000:0x14000], kernel.ReadWrite)
	other, kernels := r.walk(c.spaces[0].root), r.walk(c.kernel.root)
	taken := free - reuse.Free()
	for range 2 {
		require.True(t, c.Reserve(1, abi.FlashStart, 4*pageSize))
		require.True(t, c.Reserve(1, 3*gib-pageSize, 2*gib))
		require.True(t, c.Reserve(1, abi.UserMax-2*pageSize, pageSize))
		require.True(t, c.Reserve(1, abi.LoanStart, abi.LoanSize))
		c.Start(1, kernel.StartState{})
		c.Map(1, abi.FlashStart, r[0x20000:0x21000], kernel.ReadExecute)
		writeCR3(c.spaces[1].load(c.keep))
		assert.Equal(t, c.spaces[1].root|2, hostCPU.cr3, "with nothing remembered")
		c.Clear(1)
		c.FreeSpace(1)
		assert.Equal(t, c.kernel.root, hostCPU.cr3)
		assert.Equal(t, taken, free-reuse.Free())
		assert.Equal(t, other, r.walk(c.spaces[0].root))
		assert.Equal(t, kernels, r.walk(c.kernel.root))
		_, ok := c.NextPage(1, 0)
		assert.False(t, ok)
		c.FreeSpace(1) // there is none
	}
	c.FreeTask(1)
	assert.Equal(t, taken-pageSize, free-reuse.Free())
	c.FreeSpace(0)
	c.FreeTask(0)
	assert.Equal(t, free, reuse.Free())
	assert.Nil(t, contexts[1])
}

// TestFreeSpaceOfAnother: what ran last goes on with its own tables, although another's were freed in the meantime.
func TestFreeSpaceOfAnother(t *testing.T) {
	newHostCPU(t)
	r := newRAM(t, 4*mib)
	c := newCPU(t, r, true)
	ram := c.spaces[0].ram
	var reuse kernel.Reuse
	reuse.Init(ram, c)
	for slot := range 2 {
		require.NotNil(t, c.NewTask(slot, ram))
		require.True(t, c.Reserve(slot, abi.RAMStart, pageSize))
		c.Start(slot, kernel.StartState{Entry: abi.FlashStart})
	}
	hostCPU.task = func(x *context) { x.came = vectorLine0 }
	c.Switch(0)
	require.Same(t, contexts[0], running)
	c.Clear(1)
	c.FreeSpace(1)
	assert.Equal(t, c.kernel.root, hostCPU.cr3)
	c.Switch(0)
	assert.Equal(t, c.spaces[0].root|1, hostCPU.cr3, "bit 63 is clear")
}
