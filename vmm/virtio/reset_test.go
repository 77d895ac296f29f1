package virtio

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// slowDisk is a disk whose first step waits.
type slowDisk struct {
	Storage
	entered, leave chan struct{}
	steps          int
	zeroed         uint64 // the most at once
}

func (s *slowDisk) Size() uint64      { return 4 << 30 }
func (s *slowDisk) BlockSize() uint64 { return 4096 }
func (s *slowDisk) ReadOnly() bool    { return false }
func (s *slowDisk) CanDiscard() bool  { return true }
func (s *slowDisk) Close() error      { return nil }

func (s *slowDisk) step() error {
	if s.steps++; s.steps == 1 {
		close(s.entered)
		<-s.leave
	}
	return nil
}

func (s *slowDisk) Read([][]byte, uint64) error { return s.step() }
func (s *slowDisk) Zero(_, n uint64) error {
	s.zeroed = max(s.zeroed, n)
	return s.step()
}

// 15, 20: what moves or clears much, or many requests, end soon when the driver resets the device, and when the machine ends:
// they are done in pieces, between which the device looks.
func TestBlockEndsSoon(t *testing.T) {
	write := func(address uint64, n uint32) virtio.Descriptor {
		return virtio.Descriptor{Address: address, Length: n, Flags: virtio.DescWrite}
	}
	status := write(virtiotest.Buffers+0x1000, 1)
	huge := []virtio.Descriptor{{Address: virtiotest.Buffers, Length: virtio.BlockHeaderSize}}
	for range 60 { // 60 times the same 256 KiB: 15 MiB
		huge = append(huge, write(virtiotest.Buffers, 256<<10))
	}
	for _, tt := range []struct {
		name     string
		kind     uint32
		segments []byte
		requests [][]virtio.Descriptor
		finished int // steps that are done all the same when the machine ends
	}{
		{"a huge read", virtio.BlockIn, nil, [][]virtio.Descriptor{append(huge, status)}, 1},
		{"a huge range of zeroes", virtio.BlockWriteZeroes, segmentOf(0, maxSegmentSectors),
			[][]virtio.Descriptor{{{Address: virtiotest.Buffers, Length: virtio.BlockHeaderSize + virtio.BlockSegmentSize}, status}}, 1},
		{"many ranges of zeroes", virtio.BlockWriteZeroes, append(segmentOf(0, 1), segmentOf(1, 1)...),
			[][]virtio.Descriptor{{{Address: virtiotest.Buffers, Length: virtio.BlockHeaderSize + 2*virtio.BlockSegmentSize}, status}}, 1},
		{"many reads", virtio.BlockIn, nil, slices.Repeat([][]virtio.Descriptor{
			{{Address: virtiotest.Buffers, Length: virtio.BlockHeaderSize}, write(virtiotest.Buffers+0x2000, virtio.SectorSize), status}}, 20), 20},
	} {
		end := func(t *testing.T, end func(*MMIO, *virtiotest.Driver), steps int) {
			disk := &slowDisk{entered: make(chan struct{}), leave: make(chan struct{})}
			block := NewBlock(disk, "disk0", t.Logf)
			m := NewMMIO(block, virtiotest.NewMemory(t, 1<<20), func() {}, t.Logf, nil)
			d := virtiotest.NewDriver(t, m.memory.(*virtiotest.Memory), m)
			d.StartWith(block.Features(), 1, 64)
			header := make([]byte, virtio.BlockHeaderSize)
			binary.LittleEndian.PutUint32(header, tt.kind)
			d.Put(virtiotest.Buffers, append(header, tt.segments...))
			q := d.Queues[0]
			for _, request := range tt.requests {
				q.Offer(q.Chain(request...))
			}
			q.Notify()
			<-disk.entered
			session, ended := block.queue.session, make(chan struct{})
			go func() {
				end(m, d)
				close(ended)
			}()
			d.Wait("the session is not to end", session.ending)
			close(disk.leave)
			<-ended
			assert.Equal(t, steps, disk.steps)
			assert.LessOrEqual(t, disk.zeroed, uint64(zeroChunk))
		}
		t.Run(tt.name+", reset", func(t *testing.T) {
			end(t, func(_ *MMIO, d *virtiotest.Driver) { d.Write(virtio.RegStatus, 0) }, 1)
		})
		t.Run(tt.name+", finished", func(t *testing.T) {
			end(t, func(m *MMIO, _ *virtiotest.Driver) { m.Finish() }, tt.finished)
		})
	}
}

// segmentOf is a range of sectors as a request names it (5.2.6).
func segmentOf(sector uint64, count uint32) []byte {
	s := make([]byte, virtio.BlockSegmentSize)
	binary.LittleEndian.PutUint64(s, sector)
	binary.LittleEndian.PutUint32(s[virtio.BlockSegmentCount:], count)
	return s
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
	}, t.Logf, nil)
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
