package vmm

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm/device"
)

// machineWithBenchmark is a machine without a processor, and the marks that it saw.
func machineWithBenchmark() (*Machine, *[]Mark) {
	marks := new([]Mark)
	m := &Machine{config: Config{
		Log:  func(string, ...any) {},
		Mark: func(mark Mark) { *marks = append(*marks, mark) },
	}}
	m.addDevices()
	return m, marks
}

func TestBenchmarkDeviceIsThereWhenAskedFor(t *testing.T) {
	m, _ := machineWithBenchmark()
	for _, port := range []uint16{abi.PortMark, abi.PortExit, abi.PortEvent, abi.PortEvent + 3} {
		assert.Equal(t, device.Ports(m.bench), m.portDevice(port), "port %#x", port)
	}
	assert.Equal(t, device.Ports(device.Nothing), m.portDevice(abi.PortMark-1))
	assert.Equal(t, device.Ports(device.Nothing), m.portDevice(abi.PortEvent+4))
	d, offset := m.mmioDevice(abi.BenchmarkMMIO+8, 4)
	assert.Equal(t, device.MMIO(m.bench), d)
	assert.EqualValues(t, 8, offset)

	without := machineWithDevices(func(string, ...any) {})
	assert.Equal(t, device.Ports(device.Nothing), without.portDevice(abi.PortMark))
	d, _ = without.mmioDevice(abi.BenchmarkMMIO, 4)
	assert.Equal(t, device.MMIO(device.Nothing), d)
}

func TestBenchmarkMarks(t *testing.T) {
	m, marks := machineWithBenchmark()
	m.stats.io.Store(3)
	m.stats.mmio.Store(20)
	m.stats.eoi.Store(100)
	m.stats.other.Store(1000)
	m.stats.interrupted.Store(5000) // no exits
	word := []byte{abi.MarkBegin, 0, 0, 0}
	for _, tt := range []struct {
		name string
		port uint16
		size int
		data []byte
		want []uint32
	}{
		{"a mark", abi.PortMark, 4, word, []uint32{abi.MarkBegin}},
		{"any value", abi.PortMark, 4, []byte{1, 2, 3, 4}, []uint32{0x04030201}},
		{"a string of two", abi.PortMark, 4, []byte{1, 0, 0, 0, 2, 0, 0, 0}, []uint32{1, 2}},
		{"a byte", abi.PortMark, 1, []byte{1}, nil},
		{"nothing", abi.PortMark, 4, nil, nil},
		{"beside it", abi.PortMark + 1, 4, word, nil},
		{"an exit", abi.PortExit, 4, word, nil},
		{"an event without an eventfd", abi.PortEvent, 4, word, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			*marks = nil
			m.bench.WritePort(tt.port, tt.size, tt.data)
			require.Len(t, *marks, len(tt.want))
			for i, mark := range *marks {
				assert.Equal(t, tt.want[i], mark.Value)
				assert.EqualValues(t, 1123, mark.UserExits)
				for _, c := range []Count{mark.Exits, mark.Instructions, mark.Events} {
					assert.ErrorIs(t, c.Err, errNoCounter, "nothing is guessed")
				}
			}
		})
	}
	data := make([]byte, 4)
	m.bench.ReadPort(abi.PortMark, 4, data)
	assert.Equal(t, []byte{0xff, 0xff, 0xff, 0xff}, data)
	assert.NoError(t, m.bench.close())
}

func TestInstructionsOf(t *testing.T) {
	n, err := instructionsOf(1234, 500, 500)
	assert.NoError(t, err)
	assert.EqualValues(t, 1234, n)
	_, err = instructionsOf(1234, 500, 499)
	assert.ErrorIs(t, err, errSharedCounter)
	_, err = instructionsOf(0, 500, 500)
	assert.ErrorIs(t, err, errDeadCounter)
}

func TestPerfErrorsSayWhatToDo(t *testing.T) {
	for errno, want := range map[error]string{
		unix.EACCES: "CAP_PERFMON", unix.EPERM: "perf_event_paranoid",
		unix.ENOENT: "no hardware counter", unix.EOPNOTSUPP: "no hardware counter",
		unix.EMFILE: "too many open files",
	} {
		err := perfError(errno)
		assert.ErrorContains(t, err, want)
		assert.True(t, errors.Is(err, errno))
	}
}

func TestResidentCountsTouchedPages(t *testing.T) {
	m, err := newMemory(8<<20, true)
	require.NoError(t, err)
	defer m.close()
	pages, err := m.resident()
	require.NoError(t, err)
	assert.Zero(t, pages)
	for _, page := range []int{0, 1, 700, 2047} {
		m.low[page*abi.PageSize+17] = 1
	}
	pages, err = m.resident()
	require.NoError(t, err)
	assert.EqualValues(t, 4, pages)
}
