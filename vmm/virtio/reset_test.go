package virtio

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// slowDisk is a disk whose first read waits.
type slowDisk struct {
	Storage
	entered, leave chan struct{}
	reads          int
}

func (s *slowDisk) Size() uint64     { return 64 << 20 }
func (s *slowDisk) ReadOnly() bool   { return true }
func (s *slowDisk) CanDiscard() bool { return false }
func (s *slowDisk) Close() error     { return nil }

func (s *slowDisk) Read([][]byte, uint64) error {
	if s.reads++; s.reads == 1 {
		close(s.entered)
		<-s.leave
	}
	return nil
}

// 15, 20: what moves much ends soon when the driver resets the device: it is done in pieces, between which the device looks.
func TestBlockResetEndsAHugeRequest(t *testing.T) {
	disk := &slowDisk{entered: make(chan struct{}), leave: make(chan struct{})}
	block := NewBlock(disk, "disk0", t.Logf)
	m := NewMMIO(block, virtiotest.NewMemory(t, 1<<20), func() {}, t.Logf)
	d := virtiotest.NewDriver(t, m.memory.(*virtiotest.Memory), m)
	d.StartWith(0, 1, 64)

	var header [virtio.BlockHeaderSize]byte
	binary.LittleEndian.PutUint32(header[:], virtio.BlockIn)
	d.Put(virtiotest.Buffers, header[:])
	list := []virtio.Descriptor{{Address: virtiotest.Buffers, Length: virtio.BlockHeaderSize}}
	for range 60 { // 60 times the same 256 KiB: 15 MiB
		list = append(list, virtio.Descriptor{Address: virtiotest.Buffers, Length: 256 << 10, Flags: virtio.DescWrite})
	}
	list = append(list, virtio.Descriptor{Address: virtiotest.Buffers, Length: 1, Flags: virtio.DescWrite})
	d.Queues[0].Send(list...)
	<-disk.entered
	stop := block.queue.session.stop
	reset := make(chan struct{})
	go func() {
		d.Write(virtio.RegStatus, 0)
		close(reset)
	}()
	<-stop
	close(disk.leave)
	<-reset
	assert.Equal(t, 1, disk.reads)
}

// 15: the interrupt for a change of the configuration is made while nobody can reset or close the device: it is not left for who
// drives it next, and the line is not touched when the machine is gone.
func TestConfigChangesBetweenResets(t *testing.T) {
	var m *MMIO
	edges, free := 0, 0
	m = NewMMIO(NewEntropy(), virtiotest.NewMemory(t, 1<<20), func() {
		edges++
		if m.access.TryLock() {
			m.access.Unlock()
			free++
		}
	}, t.Logf)
	d := virtiotest.NewDriver(t, m.memory.(*virtiotest.Memory), m)
	m.ConfigChanged()
	d.StartWith(0, 1, 64)
	m.ConfigChanged()
	d.Write(virtio.RegStatus, 0)
	m.ConfigChanged()
	assert.Zero(t, d.Read(virtio.RegInterruptStatus))
	d.StartWith(0, 1, 64)
	assert.NoError(t, m.Close())
	m.ConfigChanged()
	assert.Equal(t, 1, edges)
	assert.Zero(t, free)
}
