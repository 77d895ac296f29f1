package virtio_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	abi "kapsel/guest/abi/virtio"
	corpus "kapsel/guest/abi/virtio/hostile"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// model is a kind of device for conversations: what it is connected to, and what a driver says to it.
type model struct {
	name     string
	queues   int
	features uint64
	connect  func() connection
	request  func(r *rand.Rand, d *virtiotest.Driver, queue int) []abi.Descriptor // one that makes sense; it fills what the device reads
}

// connection is what a device is connected to, and stays when the device is replaced by another.
type connection interface {
	device() virtio.Device
	stir(r *rand.Rand) // something happens outside
	sum() string       // what was sent outside since the last time
}

var models = []model{
	{"entropy", 1, abi.FeatureEventIndex, func() connection { return noConnection{} },
		func(r *rand.Rand, _ *virtiotest.Driver, _ int) []abi.Descriptor {
			return []abi.Descriptor{{Address: somewhere(r), Length: r.Uint32N(100), Flags: abi.DescWrite}}
		}},
	{"block", 1, allBlockFeatures, func() connection { return &blockConnection{newMedium()} }, blockRequest},
	{"console", 2, abi.FeatureEventIndex | abi.ConsoleFeatureSize, func() connection { return &consoleConnection{end: end{room: 500}} }, streamRequest},
	{"ports", portQueues, abi.FeatureEventIndex | abi.ConsoleFeatureMultiport, func() connection {
		return &portsConnection{a: end{room: 500}, b: end{room: 500}}
	}, portsRequest},
	{"ports without multiport", 2, abi.FeatureEventIndex, func() connection { return &portsConnection{} }, streamRequest},
	{"network", 2, netFeatures, func() connection { return &netConnection{} },
		func(r *rand.Rand, d *virtiotest.Driver, queue int) []abi.Descriptor {
			if queue == abi.NetReceiveQueue {
				return []abi.Descriptor{{Address: somewhere(r), Length: r.Uint32N(300), Flags: abi.DescWrite}}
			}
			at := somewhere(r)
			d.Put(at, make([]byte, abi.NetHeaderSize))
			return []abi.Descriptor{{Address: at, Length: r.Uint32N(200)}}
		}},
	{"GPIO", 2, gpioFeatures, func() connection {
		return &gpioConnection{names: []string{"a", "b"}, shown: map[byte]string{'a': "a false", 'b': "b false"}}
	}, gpioRequest},
}

// somewhere is an address in the first 32 KiB of Buffers.
func somewhere(r *rand.Rand) uint64 { return virtiotest.Buffers + r.Uint64N(0x8000) }

type noConnection struct{}

func (noConnection) device() virtio.Device { return virtio.NewEntropy() }
func (noConnection) stir(*rand.Rand)       {}
func (noConnection) sum() string           { return "" }

type blockConnection struct{ *medium }

func (c *blockConnection) device() virtio.Device {
	return virtio.NewBlock(c.medium, "disk0", func(string, ...any) {})
}
func (c *blockConnection) stir(*rand.Rand) {}
func (c *blockConnection) sum() string     { return string(c.data) }

func blockRequest(r *rand.Rand, d *virtiotest.Driver, _ int) []abi.Descriptor {
	header, data := somewhere(r), somewhere(r)
	d.Put(header, blockHeader([]uint32{abi.BlockIn, abi.BlockOut, abi.BlockFlush, abi.BlockGetID, 77}[r.IntN(5)], r.Uint64N(diskSectors+1)))
	return []abi.Descriptor{{Address: header, Length: abi.BlockHeaderSize}, {Address: data, Length: abi.SectorSize, Flags: uint16(r.IntN(2)) * abi.DescWrite},
		{Address: data + abi.SectorSize, Length: 1, Flags: abi.DescWrite}}
}

// stirEnd has an end send, or make room for what it did not take.
func stirEnd(r *rand.Rand, e *end) {
	text := make([]byte, r.IntN(300))
	for i := range text {
		text[i] = byte(r.Uint32())
	}
	if r.IntN(2) == 0 {
		e.send(string(text))
	} else {
		e.change(func() { e.room += len(text) })
	}
}

// consoleConnection is a line that takes and gives as much as its end does.
type consoleConnection struct{ end }

func (c *consoleConnection) Await()                {}
func (c *consoleConnection) Divert(wake func())    { c.end.Attach(wake) }
func (c *consoleConnection) device() virtio.Device { return virtio.NewConsole(c) }
func (c *consoleConnection) stir(r *rand.Rand)     { stirEnd(r, &c.end) }
func (c *consoleConnection) sum() string           { return c.take() }

// take returns what the guest sent since the last time. There is no more room for it then.
func (e *end) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := string(e.out)
	e.out, e.room = nil, e.room-len(out)
	return out
}

func streamRequest(r *rand.Rand, d *virtiotest.Driver, queue int) []abi.Descriptor {
	list := make([]abi.Descriptor, 1+r.IntN(3))
	for i := range list {
		list[i] = abi.Descriptor{Address: somewhere(r), Length: r.Uint32N(400), Flags: uint16(1-queue%2) * abi.DescWrite}
		d.Put(list[i].Address, []byte(strconv.Itoa(r.Int())))
	}
	return list
}

type portsConnection struct{ a, b end }

func (c *portsConnection) device() virtio.Device {
	return virtio.NewPorts([]virtio.Port{{Name: "a", End: &c.a}, {Name: "bb", End: &c.b}})
}

func (c *portsConnection) stir(r *rand.Rand) {
	e := []*end{&c.a, &c.b}[r.IntN(2)]
	if r.IntN(20) == 0 {
		e.change(func() { e.ended = true })
	}
	stirEnd(r, e)
}

func (c *portsConnection) sum() string { return c.a.take() + "|" + c.b.take() }

func portsRequest(r *rand.Rand, d *virtiotest.Driver, queue int) []abi.Descriptor {
	at := somewhere(r)
	switch queue {
	case abi.ConsoleControlReceiveQueue:
		return []abi.Descriptor{{Address: at, Length: r.Uint32N(20), Flags: abi.DescWrite}}
	case abi.ConsoleControlTransmitQueue:
		event := []uint16{abi.ConsoleDeviceReady, abi.ConsolePortReady, abi.ConsolePortOpen}[r.IntN(3)]
		d.Put(at, messageOf(r.Uint32N(4), event, uint16(min(1, r.IntN(8)))))
		return []abi.Descriptor{{Address: at, Length: abi.ConsoleControlBytes}}
	}
	return streamRequest(r, d, queue)
}

type netConnection struct{ wire }

func (c *netConnection) device() virtio.Device { return virtio.NewNet(&c.wire, testMAC, ethernet.MTU) }
func (c *netConnection) stir(r *rand.Rand) {
	c.put(frame(ethernet.HeaderSize+r.IntN(200), byte(r.Uint32())))
}

func (c *netConnection) sum() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := bytes.Join(c.sent, []byte("|"))
	c.sent = nil
	return string(sent)
}

// gpioConnection is an outside that tells each device anew which levels it gives.
type gpioConnection struct {
	outside
	names  []string
	levels [2]bool
	shown  map[byte]string
}

func (c *gpioConnection) device() virtio.Device {
	c.outside.names = c.names
	g := virtio.NewGPIO(&c.outside)
	for i, high := range c.levels {
		c.drive(i, high)
	}
	return g
}

func (c *gpioConnection) stir(r *rand.Rand) {
	i := r.IntN(2)
	c.levels[i] = !c.levels[i]
	c.drive(i, c.levels[i])
}

// sum is the levels that the outside was shown at last: a new device shows them anew.
func (c *gpioConnection) sum() string {
	for _, line := range c.take() {
		c.shown[line[0]] = line
	}
	return fmt.Sprint(c.shown)
}

func gpioRequest(r *rand.Rand, d *virtiotest.Driver, queue int) []abi.Descriptor {
	at := somewhere(r)
	line := uint16(min(2, r.IntN(8))) % 3
	if queue == abi.GPIOEventQueue {
		d.Put(at, binary.LittleEndian.AppendUint16(nil, line))
		return []abi.Descriptor{{Address: at, Length: abi.GPIOEventSize}, {Address: at + 2, Length: 1, Flags: abi.DescWrite}}
	}
	p := binary.LittleEndian.AppendUint16(nil, uint16(1+r.IntN(6)))
	p = binary.LittleEndian.AppendUint16(p, line)
	d.Put(at, binary.LittleEndian.AppendUint32(p, []uint32{0, 1, 2, 3, 4, 8}[r.IntN(6)]))
	return []abi.Descriptor{{Address: at, Length: abi.GPIORequestSize}, {Address: at + 8, Length: 20, Flags: abi.DescWrite}}
}

// stepped is a machine with one device in step and a driver of it.
type stepped struct {
	*virtiotest.Driver
	t          testing.TB
	model      *model
	connection connection
	m          *virtio.MMIO
	spare, old *virtiotest.Memory
	edges      int
	rung       atomic.Int32
	declared   []virtiotest.Range
}

// steppedRAM is enough for queues and buffers.
const steppedRAM = virtiotest.Buffers + 0x20000

func newStepped(t testing.TB, v *model) *stepped {
	s := &stepped{t: t, model: v, connection: v.connect(), spare: virtiotest.NewMemory(t, steppedRAM), old: virtiotest.NewMemory(t, steppedRAM)}
	s.Driver = virtiotest.NewDriver(t, nil, s)
	s.replace(virtiotest.NewMemory(t, steppedRAM))
	s.StartWith(v.features, v.queues, 8)
	return s
}

// replace puts a new device in the place of the one before, at another memory.
func (s *stepped) replace(memory *virtiotest.Memory) {
	s.Memory = memory
	s.Memory.Declared = func(r virtiotest.Range) { s.declared = append(s.declared, r) }
	s.m = virtio.NewMMIO(s.connection.device(), memory, func() { s.edges++ }, func(string, ...any) {}, func() { s.rung.Add(1) })
}

// ReadMMIO implements virtiotest.Registers.
func (s *stepped) ReadMMIO(offset uint64, data []byte) { s.m.ReadMMIO(offset, data) }

// WriteMMIO implements virtiotest.Registers, as a processor's thread does: with what the bell asks for behind it.
func (s *stepped) WriteMMIO(offset uint64, data []byte) {
	switch offset {
	case abi.RegStatus, abi.RegQueueNotify, abi.RegQueueReady:
		s.watch(func() { s.m.WriteMMIO(offset, data) })
	default: // of which the device takes note
		s.m.WriteMMIO(offset, data)
	}
}

// watch asserts that the device writes nothing that it does not declare.
func (s *stepped) watch(f func()) {
	s.old.CopyFrom(s.Memory)
	s.declared = s.declared[:0]
	f()
	for s.rung.Swap(0) > 0 {
		s.m.Serve()
	}
	require.False(s.t, s.Memory.Differs(s.old, s.declared), "the device wrote what it did not declare")
}

// move pauses the device, lets something happen outside, and has another device at a copy of the memory go on.
func (s *stepped) move(meanwhile func()) {
	s.watch(func() {
		s.m.Pause()
		meanwhile()
		text := s.save()
		require.NoError(s.t, s.m.Close())
		was := s.Memory
		s.spare.CopyFrom(was)
		was.Clear()
		s.replace(s.spare)
		s.spare = was
		s.m.Pause()
		var state virtio.State
		require.NoError(s.t, json.Unmarshal(text, &state))
		require.NoError(s.t, s.m.Restore(state), "%s", text)
		require.Equal(s.t, string(text), string(s.save()))
		s.m.Resume()
	})
}

// save returns the state of the device, which is paused, as it stands on disk.
func (s *stepped) save() []byte {
	text, err := json.Marshal(s.m.Save())
	require.NoError(s.t, err)
	return text
}

// rest does the same with one device.
func (s *stepped) rest(meanwhile func()) {
	s.watch(func() {
		s.m.Pause()
		meanwhile()
		s.m.Resume()
	})
}

// act does one thing of a conversation, as a random number says: mostly such as makes sense.
func (s *stepped) act(seed uint64, stop func(func())) {
	r := rand.New(rand.NewPCG(seed, 0))
	q := s.Queues[r.IntN(len(s.Queues))]
	outside := func() { s.connection.stir(r) }
	switch op := r.IntN(100); {
	case op < 45:
		q.Offer(q.Chain(s.model.request(r, s.Driver, q.Number)...))
		if r.IntN(4) > 0 {
			q.Notify()
		}
	case op < 50:
		q.Notify()
	case op < 60:
		s.watch(outside)
	case op < 65:
		s.m.ConfigChanged()
	case op < 70:
		s.Write(abi.RegInterruptACK, r.Uint32N(4))
	case op < 73:
		q.SetUsedEvent(q.UsedIndex() + uint16(r.IntN(3)))
	case op < 74:
		s.Write(abi.RegQueueSel, uint32(q.Number))
		s.Write(abi.RegQueueReady, 0)
	case op < 75:
		s.StartWith(s.model.features, s.model.queues, 8)
	case op < 76 && r.IntN(4) == 0: // it breaks the device for sure
		q.SetIndex(q.Index() + 99)
		q.Notify()
	case op < 78:
		if s.Broken() {
			s.StartWith(s.model.features, s.model.queues, 8)
		}
	case op < 84:
		stop(outside)
	case op < 88:
		stop(s.m.ConfigChanged)
	default:
		stop(func() {})
	}
}

// requireSame asserts that driver and outside see the same of two devices.
func requireSame(t testing.TB, a, b *stepped, what string) {
	for offset := uint64(0); offset < abi.RegConfig; offset += 4 {
		var p, q [4]byte
		a.m.ReadMMIO(offset, p[:])
		b.m.ReadMMIO(offset, q[:])
		require.Equal(t, p, q, "register %#x, %s", offset, what)
	}
	require.Equal(t, a.Config(0, 32), b.Config(0, 32), what)
	require.Equal(t, a.edges, b.edges, "interrupts, %s", what)
	require.Equal(t, a.connection.sum(), b.connection.sum(), "outside, %s", what)
	var random []virtiotest.Range // what an entropy device fills is never the same
	if a.model.name == "entropy" {
		random = append(random, virtiotest.Range{Address: virtiotest.Buffers, Size: 1 << 16})
	}
	b.old.CopyFrom(b.Memory)
	require.False(t, a.Memory.Differs(b.old, random), "memory, %s", what)
}

// TestSnapshotGoesOn: at random points of random conversations a device is paused and saved, and another one at a copy of the memory
// goes on. Driver and outside see, to the byte and to the interrupt, what they see of one device that rests at those points.
func TestSnapshotGoesOn(t *testing.T) {
	cases := 150 // of each kind
	if text := os.Getenv("KAPSEL_SNAPSHOT_CASES"); text != "" {
		var err error
		cases, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	for i := range models {
		v := &models[i]
		t.Run(v.name, func(t *testing.T) {
			a, b := newStepped(t, v), newStepped(t, v)
			for c := range cases {
				r := rand.New(rand.NewPCG(uint64(i), uint64(c)))
				for step := range 1 + r.IntN(30) {
					seed := r.Uint64()
					a.act(seed, a.rest)
					b.act(seed, b.move)
					requireSame(t, a, b, fmt.Sprintf("case %d, step %d", c, step))
				}
				a.StartWith(v.features, v.queues, 8)
				b.StartWith(v.features, v.queues, 8)
			}
			assert.NotZero(t, a.edges)
		})
	}
}

// TestWritesAreDeclared: by the corpus of attacks a device in step writes nothing into memory that it does not declare by
// Memory.Wrote. FuzzWritesAreDeclared does so with any script.
func TestWritesAreDeclared(t *testing.T) {
	for i := range models {
		for first := range models[i].queues {
			for _, script := range corpus.Scripts {
				t.Run(fmt.Sprintf("%s/%d/%s", models[i].name, first, script.Name), func(t *testing.T) {
					attackStepped(t, &models[i], first, script.Steps)
				})
			}
		}
	}
}

// attackStepped has a driver attack a device by a script.
func attackStepped(t testing.TB, v *model, first int, script []corpus.Step) {
	s := newStepped(t, v)
	for _, q := range s.Queues {
		q.Chain(v.request(rand.New(rand.NewPCG(1, 1)), s.Driver, q.Number)...)
	}
	attacker := victim{name: v.name, queues: v.queues, features: v.features}
	for _, step := range script {
		attacker.step(s.Driver, s.Queues[(first+int(step.Queue))%v.queues], step)
	}
	s.watch(s.m.Finish)
	require.NoError(t, s.m.Close())
}

func FuzzWritesAreDeclared(f *testing.F) {
	for i := range models {
		for _, script := range corpus.Scripts {
			f.Add(uint8(i), corpus.Encode(script.Steps))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, script []byte) {
		v := &models[int(kind)%len(models)]
		var steps []corpus.Step
		for step := range corpus.Decode(script[:min(len(script), 1<<11)]) {
			steps = append(steps, step)
		}
		attackStepped(t, v, int(kind)/len(models)%v.queues, steps)
	})
}
