package onepage

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi/virtio"
	"kapsel/vmm"
	"kapsel/vmm/ethernet"
)

// Where a guest has the parts of its i-th queue, of 8, and its data.
func queueAt(i uint64) uint64 { return descriptors + i*0x4000 }

const data = 0x32_0000

// startDevice negotiates, accepts features below bit 32, and sets queues up.
func startDevice(features uint32, queues uint32) []byte {
	code := join(
		put(virtio.RegStatus, 0), put(virtio.RegStatus, 1), put(virtio.RegStatus, 3),
		put(virtio.RegDriverFeaturesSel, 0), put(virtio.RegDriverFeatures, features),
		put(virtio.RegDriverFeaturesSel, 1), put(virtio.RegDriverFeatures, virtio.FeatureVersion1>>32),
		put(virtio.RegStatus, 0xb))
	for i := range queues {
		at := uint32(queueAt(uint64(i)))
		code = join(code,
			put(virtio.RegQueueSel, i), put(virtio.RegQueueSize, 8),
			put(virtio.RegQueueDescLow, at), put(virtio.RegQueueDriverLow, at+0x1000), put(virtio.RegQueueDeviceLow, at+0x2000),
			put(virtio.RegQueueReady, 1))
	}
	return join(code, put(virtio.RegStatus, 0xf))
}

// offer makes the n-th request, from 1 on, of a queue: a chain of descriptors from 0 on. The one before has come back.
func offer(queue uint64, n uint32, list ...virtio.Descriptor) (code []byte) {
	at := queueAt(queue)
	for i, d := range list {
		flags := uint32(d.Flags)
		if i < len(list)-1 {
			flags |= virtio.DescNext | uint32(i+1)<<16
		}
		here := at + uint64(i)*virtio.DescriptorSize
		code = join(code, store(here, uint32(d.Address)), store(here+8, d.Length), store(here+12, flags))
	}
	return join(code, store(at+0x1000, n<<16), put(virtio.RegQueueNotify, uint32(queue)))
}

// served waits until a queue's n-th request has come back, which is a power of two.
func served(queue uint64, n uint32) []byte { return until(queueAt(queue)+0x2000, n<<16) }

// memory writes bytes to memory.
func memory(address uint64, p []byte) (code []byte) {
	p = append(bytes.Clone(p), make([]byte, -len(p)&3)...)
	for i := 0; i < len(p); i += 4 {
		code = join(code, store(address+uint64(i), binary.LittleEndian.Uint32(p[i:])))
	}
	return code
}

// print gives a console device a text as its n-th request.
func print(n uint32, text string) []byte {
	at := uint64(data) + uint64(n)*0x100
	return join(memory(at, []byte(text)), offer(virtio.ConsoleTransmitQueue, n, virtio.Descriptor{Address: at, Length: uint32(len(text))}))
}

// say writes a text to the UART, a byte at a time.
func say(text string) (code []byte) {
	code = movEDX(0x3f8)
	for _, b := range []byte(text) {
		code = join(code, movEAX(uint32(b)), outDXAL)
	}
	return code
}

// A guest writes a sector, reads it back elsewhere, and the file has it; the rest of the sparse file takes no memory.
func TestVirtioDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 64<<20))
	text := strings.Repeat("kapsel! ", 64)
	header := func(kind, sector uint32) []byte {
		return join(store(data, kind), store(data+virtio.BlockHeaderSector, sector))
	}
	const back, status = data + 0x2000, data + 0x3000
	code := join(mapDevice(),
		load(register(virtio.RegDeviceID)), expect(virtio.IDBlock, 1),
		load(register(virtio.RegConfig)), expect(64<<20/512, 2),
		startDevice(virtio.BlockFeatureFlush, 1),
		memory(data+0x1000, []byte(text)),
		header(virtio.BlockOut, 1000), store(status, 0xff),
		offer(0, 1, virtio.Descriptor{Address: data, Length: 16}, virtio.Descriptor{Address: data + 0x1000, Length: 512},
			virtio.Descriptor{Address: status, Length: 1, Flags: virtio.DescWrite}),
		served(0, 1), load(status), expect(0, 3),
		header(virtio.BlockIn, 1000), store(status, 0xff),
		offer(0, 2, virtio.Descriptor{Address: data, Length: 16}, virtio.Descriptor{Address: back, Length: 512, Flags: virtio.DescWrite},
			virtio.Descriptor{Address: status, Length: 1, Flags: virtio.DescWrite}),
		served(0, 2), load(status), expect(0, 4),
		imm32(0xbe, back), outString(512),
		exit(0))
	r := run(t, code, vmm.Config{Devices: []vmm.Device{vmm.Disk{Path: path}}})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Equal(t, text, r.console)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, text, string(content[1000*512:1001*512]))
	counters := r.stats.Devices[0].Counters
	assert.EqualValues(t, 2, counters.Requests)
	assert.EqualValues(t, 16+512+16, counters.Read)
	assert.EqualValues(t, 1+513, counters.Written)
	assert.Zero(t, counters.Errors)
}

// What a guest prints by the console device and by the UART comes out as it wrote it, to the last word before its end.
func TestVirtioConsoleKeepsTheOrder(t *testing.T) {
	code := join(mapDevice(), say("early "),
		store(register(virtio.RegConfig+virtio.ConsoleConfigEmergencyWrite), '!'),
		startDevice(0, 2),
		print(1, " one "), say("panic "),
		print(2, "two "), store(register(virtio.RegConfig+virtio.ConsoleConfigEmergencyWrite), '!'),
		print(3, " last"), exit(0))
	r := run(t, code, vmm.Config{Devices: []vmm.Device{vmm.Console{}}})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Equal(t, "early ! one panic two ! last", r.console)
}

// A page is one notification, which is no exit where KVM has ioeventfds.
func TestVirtioConsoleExits(t *testing.T) {
	exits := func(pages ...uint32) uint64 {
		code := join(mapDevice(), startDevice(0, 2))
		for _, n := range pages {
			code = join(code, offer(virtio.ConsoleTransmitQueue, n, virtio.Descriptor{Address: 0x20_0000, Length: 4096}), served(virtio.ConsoleTransmitQueue, n))
		}
		r := run(t, join(code, exit(0)), vmm.Config{Devices: []vmm.Device{vmm.Console{}}})
		assert.Equal(t, guestExit(0), r.Exit)
		assert.Len(t, r.console, 4096*len(pages))
		return r.stats.Exits()
	}
	notification := uint64(1)
	if capability(t, "KVM_CAP_IOEVENTFD") {
		notification = 0
	}
	assert.Equal(t, notification, exits(1, 2)-exits(1))
}

// What is typed before the driver is up, and not read, the driver gets.
func TestVirtioConsoleTyped(t *testing.T) {
	code := join(mapDevice(), say("> "),
		movEDX(0x3fd), inALDX, imm32(0xa9, 1), []byte{0x74, 0xf8}, // until there is a byte: 1: in; test $1, %eax; je 1b
		startDevice(0, 2),
		offer(virtio.ConsoleReceiveQueue, 1, virtio.Descriptor{Address: data, Length: 64, Flags: virtio.DescWrite}),
		served(virtio.ConsoleReceiveQueue, 1),
		imm32(0xbe, data), outString(5),
		exit(0))
	r := run(t, code, vmm.Config{Devices: []vmm.Device{vmm.Console{}}, Input: strings.NewReader("typed")})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Equal(t, "> typed", r.console)
}

// wire is a network of the test's.
type wire struct{ end ethernet.Backend }

func (w wire) String() string { return "wire" }

func (w wire) Open(log func(string, ...any)) (*ethernet.Port, error) {
	return ethernet.NewPort(ethernet.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, w.end, nil, log), nil
}

// A guest sends a frame, and receives the answer.
func TestVirtioNetwork(t *testing.T) {
	sent := bytes.Repeat([]byte("ping"), 15)
	answer := bytes.Repeat([]byte("pong"), 16)
	here, there := ethernet.Pair()
	got := make(chan []byte, 1)
	go func() {
		frame := make([]byte, ethernet.MaxFrame)
		n, err := there.ReadFrame(frame)
		if err == nil {
			got <- frame[:n]
			there.WriteFrame(answer)
		}
	}()
	code := join(mapDevice(),
		load(register(virtio.RegDeviceID)), expect(virtio.IDNet, 1),
		load(register(virtio.RegConfig)), expect(0x1200_5452, 2),
		startDevice(virtio.NetFeatureMAC|virtio.NetFeatureStatus, 2),
		offer(virtio.NetReceiveQueue, 1, virtio.Descriptor{Address: data, Length: 2048, Flags: virtio.DescWrite}),
		memory(data+0x1000, append(make([]byte, virtio.NetHeaderSize), sent...)),
		offer(virtio.NetTransmitQueue, 1, virtio.Descriptor{Address: data + 0x1000, Length: uint32(virtio.NetHeaderSize + len(sent))}),
		served(virtio.NetReceiveQueue, 1),
		load(queueAt(virtio.NetReceiveQueue)+0x2008), expect(uint32(virtio.NetHeaderSize+len(answer)), 3),
		imm32(0xbe, data+virtio.NetHeaderSize), outString(len(answer)),
		exit(0))
	r := run(t, code, vmm.Config{Devices: []vmm.Device{vmm.Network{Connection: wire{here}}}})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Equal(t, string(sent), string(<-got))
	assert.Equal(t, string(answer), r.console)
	assert.Equal(t, "network wire", r.stats.Devices[0].Name)
	assert.EqualValues(t, 2, r.stats.Devices[0].Counters.Requests)
}

func TestVirtioConsoleSize(t *testing.T) {
	code := join(mapDevice(), load(register(virtio.RegConfig)), exitEAX)
	m := newMachine(t, code, vmm.Config{Devices: []vmm.Device{vmm.Entropy{}, vmm.Console{}}})
	m.Resize(80, 25) // of a machine whose console is in place 1
	exit, err := m.Run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, guestExit(0), exit)
	m = newMachine(t, code, vmm.Config{Devices: []vmm.Device{vmm.Console{}, vmm.Entropy{}}})
	m.Resize(80, 0)
	exit, err = m.Run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, guestExit(80), exit)
}

// The machine ends when it is told to, whatever its console waits for.
func TestVirtioConsoleNobodyReads(t *testing.T) {
	code := join(mapDevice(), startDevice(0, 2))
	for n := range uint32(4) { // 4 MiB of memory
		code = join(code, offer(virtio.ConsoleTransmitQueue, n+1, virtio.Descriptor{Address: 0x20_0000, Length: 1 << 20}))
	}
	code = join(code, say("panic"), exit(0))
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	defer write.Close()
	m := newMachine(t, code, vmm.Config{Devices: []vmm.Device{vmm.Console{}}, Console: write})
	stop := start(t, m)
	_, err = read.Read(make([]byte, 1)) // it prints
	require.NoError(t, err)
	assert.Equal(t, vmm.Cancelled, stop().Reason)
}
