package virtio_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// start makes a device's transport and a driver that counts its interrupts.
func start(t testing.TB, device virtio.Device) (*virtiotest.Driver, *virtio.MMIO) {
	memory := virtiotest.NewMemory(t, 1<<20)
	m := virtio.NewMMIO(device, memory, func() {}, t.Logf, nil)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	return virtiotest.NewDriver(t, memory, m), m
}

func TestEntropy(t *testing.T) {
	d, m := start(t, virtio.NewEntropy())
	assert.EqualValues(t, abi.IDEntropy, d.Read(abi.RegDeviceID))
	d.StartWith(abi.FeatureEventIndex, 1, 8)
	head := d.Queues[0].Send(
		abi.Descriptor{Address: virtiotest.Buffers, Length: 20, Flags: abi.DescWrite},
		abi.Descriptor{Address: virtiotest.High, Length: 12, Flags: abi.DescWrite})
	assert.Equal(t, abi.UsedElement{ID: uint32(head), Length: 32}, d.Queues[0].WaitUsed())
	assert.NotEqual(t, make([]byte, 20), d.Memory.Bytes(t, virtiotest.Buffers, 20))
	assert.NotEqual(t, make([]byte, 12), d.Memory.Bytes(t, virtiotest.High, 12))
	assert.Zero(t, d.Memory.Bytes(t, virtiotest.Buffers+20, 1)[0])
	assert.EqualValues(t, 1, m.Counters().Requests)
	assert.EqualValues(t, 32, m.Counters().Written)
}

// 13: FC #5762 made as much memory as the driver's chain is long.
func TestEntropyOfAHugeChain(t *testing.T) {
	d, _ := start(t, virtio.NewEntropy())
	d.StartWith(0, 1, 64)
	var list []abi.Descriptor
	for range 63 { // 63 times the same 256 KiB
		list = append(list, abi.Descriptor{Address: virtiotest.Buffers, Length: 256 << 10, Flags: abi.DescWrite})
	}
	d.Queues[0].Send(list...)
	assert.EqualValues(t, 64<<10, d.Queues[0].WaitUsed().Length)
}

func TestEntropyWithoutRoom(t *testing.T) {
	d, m := start(t, virtio.NewEntropy())
	d.StartWith(0, 1, 8)
	d.Queues[0].Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 16})
	d.Wait("it is broken", d.Broken)
	assert.EqualValues(t, 1, m.Counters().Broken)
	d.StartWith(0, 1, 8)
	d.Queues[0].Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 16, Flags: abi.DescWrite})
	assert.EqualValues(t, 16, d.Queues[0].WaitUsed().Length, "after a reset it works")
}
