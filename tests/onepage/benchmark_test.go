package onepage

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
)

// loop is n rounds of the instructions: at most 120 bytes, and %ecx is the loop's.
func loop(n uint32, instructions ...[]byte) []byte {
	body := join(instructions...)
	return join(movECX(n), body,
		[]byte{0xff, 0xc9},                       // dec %ecx
		[]byte{0x75, byte(-(len(body) + 2 + 2))}) // jne to the body
}

var outDXEAX = []byte{0xef} // out %eax, (%dx)

// mark sets a mark.
func mark(value uint32) []byte { return join(movEDX(abi.PortMark), movEAX(value), outDXEAX) }

// The monitor counts the exits between two marks, and one for the second mark.
func TestBenchmarkDevice(t *testing.T) {
	const rounds = 50
	for _, tt := range []struct {
		name   string
		body   []byte
		io     uint64 // exits to the monitor that the body makes, marks aside
		mmio   uint64
		events uint64
	}{
		{"nothing", nil, 0, 0, 0},
		{"port writes", join(movEDX(abi.PortExit), loop(rounds, outDXEAX)), rounds, 0, 0},
		{"memory writes", loop(rounds, storeEAX), 0, rounds, 0},
		{"events", join(movEDX(abi.PortEvent), loop(rounds, outDXEAX)), 0, 0, rounds},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var marks []vmm.Mark
			r := run(t, join(mapMMIO(abi.BenchmarkMMIO), mark(abi.MarkBegin), tt.body, mark(abi.MarkEnd), exit(0)),
				vmm.Config{Mark: func(m vmm.Mark) { marks = append(marks, m) }})
			require.Equal(t, guestExit(0), r.Exit)
			assert.Zero(t, r.stats.UnknownPorts+r.stats.UnknownMMIO)
			require.Len(t, marks, 2)
			begin, end := marks[0], marks[1]
			assert.EqualValues(t, abi.MarkBegin, begin.Value)
			assert.EqualValues(t, abi.MarkEnd, end.Value)
			assert.EqualValues(t, tt.mmio, r.stats.MMIO)

			if end.Events.Err == nil {
				assert.Equal(t, tt.events, end.Events.N-begin.Events.N)
			} else {
				tt.io += tt.events // exits like any other
			}
			assert.Equal(t, tt.io+tt.mmio+1, end.UserExits-begin.UserExits)
			if end.Exits.Err == nil {
				// Interrupts of the host and pages touched first are exits as well, and so are
				// events, where they do not run through a KVM in software.
				assert.GreaterOrEqual(t, end.Exits.N-begin.Exits.N, tt.io+tt.mmio+1)
			}
			if end.Instructions.Err == nil {
				assert.Greater(t, end.Instructions.N, begin.Instructions.N)
			}
			t.Logf("exits: %+v, instructions: %+v, events: %+v", end.Exits, end.Instructions, end.Events)
		})
	}
}

// Without Config.Mark there is no such device.
func TestNoBenchmarkDevice(t *testing.T) {
	r := run(t, join(mark(abi.MarkBegin), movEDX(abi.PortEvent), outDXEAX, exit(0)), vmm.Config{})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.EqualValues(t, 2, r.stats.UnknownPorts)
}

// Reading all counters at a mark takes no memory either.
func TestMarksDoNotAllocate(t *testing.T) {
	allocations := func(marks uint32) uint64 {
		var seen uint32
		m := newMachine(t, join(movEDX(abi.PortMark), movEAX(abi.MarkEnd), loop(marks, outDXEAX), exit(0)),
			vmm.Config{Mark: func(vmm.Mark) { seen++ }})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		end, err := m.Run(t.Context())
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		require.Equal(t, guestExit(0), end)
		require.Equal(t, marks, seen)
		return after.Mallocs - before.Mallocs
	}
	few, many := allocations(10), allocations(2010)
	assert.Less(t, many, few+100, "allocations of 2010 marks, and of 10")
}

// What New copies is what the guest finds; what it touches is resident.
func TestLoadedAndResident(t *testing.T) {
	code := join(mapMMIO(0), // %rbx points to physical 0 now
		movEAX(1),
		[]byte{0x89, 0x83, 0, 0, 1, 0}, // mov %eax, 0x10000(%rbx)
		[]byte{0x89, 0x83, 0, 0, 2, 0}, // mov %eax, 0x20000(%rbx)
		exit(0))
	m := newMachine(t, code, vmm.Config{SmallPages: true})
	before, err := m.Resident()
	require.NoError(t, err)
	// Boot information of 12 words, 4 entries of upper tables, 2 for 4 MiB of RAM, 2 for the image.
	assert.EqualValues(t, len(code)+12*8+(4+2+2)*8, m.Stats().Loaded)
	assert.EqualValues(t, 7, before, "the code, five tables, the boot information")
	end, err := m.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, guestExit(0), end)
	after, err := m.Resident()
	require.NoError(t, err)
	assert.EqualValues(t, 2, after-before)
}
