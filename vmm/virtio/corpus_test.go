package virtio_test

import (
	"encoding/binary"
	"iter"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	abi "kapsel/guest/abi/virtio"
	corpus "kapsel/guest/abi/virtio/hostile"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// victim is a kind of device that scripts attack.
type victim struct {
	name     string
	queues   int
	features uint64
	start    func(t testing.TB) (*virtiotest.Driver, *virtio.MMIO)
	request  []abi.Descriptor // an honest one, by the last queue
}

// Where the parts of a request lie that scripts write to: header and data at the beginning of Buffers, the status behind them.
const statusAt = virtiotest.Buffers + corpus.BufferSize - 1

var victims = []victim{
	{"entropy", 1, abi.FeatureEventIndex,
		func(t testing.TB) (*virtiotest.Driver, *virtio.MMIO) { return start(t, virtio.NewEntropy()) },
		[]abi.Descriptor{{Address: virtiotest.Buffers, Length: 8, Flags: abi.DescWrite}}},
	{"block", 1, allBlockFeatures,
		func(t testing.TB) (*virtiotest.Driver, *virtio.MMIO) {
			return start(t, virtio.NewBlock(newMedium(), "disk0", func(string, ...any) {}))
		},
		[]abi.Descriptor{{Address: virtiotest.Buffers, Length: abi.BlockHeaderSize}, {Address: virtiotest.Buffers + abi.BlockHeaderSize, Length: abi.BlockSegmentSize},
			{Address: statusAt, Length: 1, Flags: abi.DescWrite}}},
	{"console", 2, abi.FeatureEventIndex,
		func(t testing.TB) (*virtiotest.Driver, *virtio.MMIO) {
			c := newConsole(t)
			go func() { // whoever reads the console, until it is closed
				for sent, ok := c.serial.Take(nil); ok; sent, ok = c.serial.Take(sent) {
				}
			}()
			return c.Driver, c.m
		},
		[]abi.Descriptor{{Address: virtiotest.Buffers, Length: 8}}},
	{"ports", portQueues, abi.FeatureEventIndex | abi.ConsoleFeatureMultiport,
		func(t testing.TB) (*virtiotest.Driver, *virtio.MMIO) {
			p := newPorts(t)
			return p.Driver, p.m
		},
		[]abi.Descriptor{{Address: virtiotest.Buffers, Length: abi.ConsoleControlBytes}}},
	{"network", 2, netFeatures,
		func(t testing.TB) (*virtiotest.Driver, *virtio.MMIO) {
			return start(t, virtio.NewNet(&wire{}, testMAC, ethernet.MTU))
		},
		[]abi.Descriptor{{Address: virtiotest.Buffers, Length: abi.NetHeaderSize + 60}}},
	{"GPIO", 2, gpioFeatures,
		func(t testing.TB) (*virtiotest.Driver, *virtio.MMIO) {
			return start(t, virtio.NewGPIO(&outside{names: []string{"a", "b"}}))
		},
		[]abi.Descriptor{{Address: virtiotest.Buffers, Length: abi.GPIORequestSize}, {Address: statusAt - 1, Length: abi.GPIOAnswerSize, Flags: abi.DescWrite}}},
}

// attack has a driver do the steps of a script to a device, whose queue first is what the script calls queue 0. All queues have
// an honest request ready at descriptor 0, which nobody was offered.
func (v *victim) attack(d *virtiotest.Driver, first int, script iter.Seq[corpus.Step]) {
	d.StartWith(v.features, v.queues, corpus.QueueSize)
	for _, q := range d.Queues {
		q.Chain(v.request...)
	}
	for s := range script {
		v.step(d, d.Queues[(first+int(s.Queue))%v.queues], s)
	}
}

// step does what a step says.
func (v *victim) step(d *virtiotest.Driver, q *virtiotest.Queue, s corpus.Step) {
	var value [8]byte
	binary.LittleEndian.PutUint64(value[:], s.Value)
	switch s.Act {
	case corpus.Write:
		overwrite(area(d, q, s.Area), s.Offset, value[:s.Width])
	case corpus.Point:
		binary.LittleEndian.PutUint64(value[:], virtiotest.Buffers+s.Value)
		overwrite(area(d, q, s.Area), s.Offset, value[:])
	case corpus.Register:
		d.Write(uint64(s.Offset), uint32(s.Value))
	case corpus.Notify:
		q.Notify()
	case corpus.Serve:
		runtime.Gosched()
	case corpus.Use:
		q.SetIndex(q.Index() + uint16(s.Value))
	case corpus.Reset:
		d.Write(abi.RegStatus, 0)
		d.AddStatus(abi.StatusAcknowledge)
		d.AddStatus(abi.StatusDriver)
		d.Accept(v.features | abi.FeatureVersion1)
		d.AddStatus(abi.StatusFeaturesOK)
		for _, q := range d.Queues {
			d.Setup(q)
		}
		d.Write(abi.RegQueueSel, uint32(q.Number))
	}
}

// area is memory that driver and device share.
func area(d *virtiotest.Driver, q *virtiotest.Queue, a corpus.Area) []byte {
	switch a {
	case corpus.Descriptors:
		return d.Memory.Bytes(d.T, q.Descriptors, abi.DescriptorsBytes(q.Size))
	case corpus.Available:
		return d.Memory.Bytes(d.T, q.Available, abi.AvailableBytes(q.Size))
	case corpus.Used:
		return d.Memory.Bytes(d.T, q.Used, abi.UsedBytes(q.Size))
	}
	return d.Memory.Bytes(d.T, virtiotest.Buffers, 1<<16)
}

// overwrite writes p at an offset, if that is there.
func overwrite(area []byte, offset uint16, p []byte) {
	if int(offset) < len(area) {
		copy(area[offset:], p)
	}
}

// survives looks whether the device serves a driver that keeps the rules, once it was reset.
func (v *victim) survives(d *virtiotest.Driver) {
	d.StartWith(v.features, v.queues, corpus.QueueSize)
	d.Put(virtiotest.Buffers, make([]byte, corpus.BufferSize))
	q := d.Queues[v.queues-1]
	head := q.Send(v.request...)
	assert.EqualValues(d.T, head, q.WaitUsed().ID)
	assert.False(d.T, d.Broken())
}

// TestScripts: by the corpus with which devices attack our drivers (guest/capsules/virtio) a driver attacks our devices. None
// writes where it may not, hangs, or stays broken.
func TestScripts(t *testing.T) {
	for _, v := range victims {
		for first := range v.queues {
			for _, s := range corpus.Scripts {
				t.Run(v.name+"/"+s.Name, func(t *testing.T) {
					d, m := v.start(t)
					d.Memory.Snapshot()
					v.attack(d, first, slices.Values(s.Steps))
					m.Finish()
					d.Write(abi.RegStatus, 0)
					assert.False(t, d.Memory.Changed(
						virtiotest.Range{Address: virtiotest.QueueBase, Size: uint64(v.queues) * virtiotest.QueueStride},
						virtiotest.Range{Address: virtiotest.Buffers, Size: 1 << 17}), "written outside of what was lent")
					v.survives(d)
				})
			}
		}
	}
}

// FuzzScripts has drivers attack devices by any script.
func FuzzScripts(f *testing.F) {
	for i := range victims {
		for _, s := range corpus.Scripts {
			f.Add(uint8(i), corpus.Encode(s.Steps))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, script []byte) {
		v := victims[int(kind)%len(victims)]
		d, m := v.start(t)
		v.attack(d, int(kind)/len(victims)%v.queues, corpus.Decode(script[:min(len(script), 1<<12)]))
		m.Finish()
		v.survives(d)
	})
}
