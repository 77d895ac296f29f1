package environment

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverEnvironment

var done = [4]uint64{uint64(abi.Success)}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{uint64(abi.Failure), uint64(e)} }
func value(v uint64) [4]uint64         { return [4]uint64{uint64(abi.SuccessU32), v} }

// machine is a kernel with the driver, on a port whose host is the test.
type machine struct {
	*kerneltest.Machine
	t      testing.TB
	driver Environment
	port   kerneltest.Port
	ended  int // how often the driver has ended the machine
}

// End implements Machine.
func (m *machine) End() { m.ended++ }

func newMachine(t testing.TB, arguments, environment string) *machine {
	m := &machine{Machine: kerneltest.New(t, capability.Mint()), t: t}
	m.Forever = true
	m.driver.Init(&m.Kernel, m, []byte(arguments), []byte(environment), &m.port, m.Capabilities.MemoryAllocation)
	m.Kernel.OnTaskEnd(&m.driver, m.Capabilities.TaskManagement)
	m.Drivers[driver] = &m.driver
	return m
}

// idOf is the task of a name.
func (m *machine) idOf(name string) (id kernel.TaskID) {
	var seen kernel.Task
	m.Kernel.EachTask(m.Capabilities.TaskManagement, &seen, func() {
		if seen.NameIs([]byte(name)) {
			id = seen.ID()
		}
	})
	return id
}

// ask has the host ask, and returns the answer.
func (m *machine) ask(text string) string {
	m.t.Helper()
	assert.Empty(m.t, m.port.Give(text, len(text)), "the driver waits for all of it")
	answer := m.port.Take()
	require.True(m.t, m.Continue())
	return answer + m.port.Take()
}

const (
	ask    = string(rune(abi.EndAsk))
	told   = string(rune(abi.EndTold))
	nobody = "\x00"
)

// TestReads: in pieces, from any offset, no more than the buffer takes.
func TestReads(t *testing.T) {
	long := strings.Repeat("0123456789abcde\x00", 300)
	m := newMachine(t, "a\x00bc\x00", long)
	m.AddTask("task", func(k *kerneltest.Task) {
		at := k.Start.RAMStart
		k.Memop(abi.MemopBrk, at+4*abi.PageSize)
		assert.Equal(t, done, k.Command(driver, exists, 0, 0))
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, listen+1, 0, 0))
		assert.Equal(t, [4]uint64{uint64(abi.Success2U32), 5, 4800}, k.Command(driver, sizes, 0, 0))
		assert.Equal(t, value(0), k.Command(driver, readArguments, 0, 0), "no buffer")
		k.AllowRW(driver, buffer, at, 4)
		assert.Equal(t, value(4), k.Command(driver, readArguments, 0, 0))
		assert.Equal(t, "a\x00bc", string(k.Load(at, 4)))
		assert.Equal(t, value(1), k.Command(driver, readArguments, 4, 0))
		assert.Equal(t, "\x00\x00bc", string(k.Load(at, 4)), "no byte behind")
		assert.Equal(t, value(0), k.Command(driver, readArguments, 5, 0), "the end")
		for _, beyond := range []uint64{6, 1<<32 - 1} {
			assert.Equal(t, failed(abi.INVAL), k.Command(driver, readArguments, beyond, 0), beyond)
		}
		k.AllowRW(driver, buffer, at, 3*abi.PageSize)
		assert.Equal(t, value(abi.EnvironmentPiece), k.Command(driver, readEnvironment, 0, 0), "a bounded piece")
		assert.Equal(t, value(4800-abi.EnvironmentPiece), k.Command(driver, readEnvironment, abi.EnvironmentPiece, 0))
		assert.Equal(t, long[abi.EnvironmentPiece:], string(k.Load(at, 4800-abi.EnvironmentPiece)))
	}, nil)
	assert.True(t, m.Run())
}

// listens is a task that listens, and ends when it is told, or stays then.
func listens(t *testing.T, stays bool) kerneltest.Program {
	return func(k *kerneltest.Task) {
		assert.Equal(t, done, k.Command(driver, listen, 0, 0))
		assert.Equal(t, failed(abi.ALREADY), k.Command(driver, listen, 0, 0))
		assert.Equal(t, [4]uint64{1}, k.WaitFor(driver, asked))
		for stays {
			k.Wait()
		}
	}
}

func waits(k *kerneltest.Task) {
	for {
		k.Wait()
	}
}

// TestAsks: those who listen are told, once, and the machine ends with the last of them, though another task has not ended.
func TestAsks(t *testing.T) {
	m := newMachine(t, "", "")
	m.AddTask("first", listens(t, false), nil)
	m.AddTask("second", listens(t, true), nil)
	m.AddTask("deaf", waits, nil)
	require.True(t, m.Run())
	assert.Equal(t, told, m.ask(ask))
	assert.Zero(t, m.ended, "the second has not ended")
	assert.Equal(t, told, m.ask(ask), "and is not told again")
	assert.Zero(t, m.ended)
	require.Equal(t, abi.OK, m.Kernel.Kill(m.idOf("second"), m.Capabilities.TaskManagement))
	require.True(t, m.Continue())
	assert.Equal(t, 1, m.ended)
}

// TestNobodyListens: and the host is told so; a task that has ended listens no more.
func TestNobodyListens(t *testing.T) {
	m := newMachine(t, "", "")
	m.AddTask("deaf", waits, nil)
	m.AddTask("ends", func(k *kerneltest.Task) { k.Command(driver, listen, 0, 0) }, nil)
	require.True(t, m.Run())
	assert.Equal(t, nobody, m.ask(ask))
	assert.Zero(t, m.ended)
}

// TestListensLate: who listens when tasks have been asked is told at once.
func TestListensLate(t *testing.T) {
	m := newMachine(t, "", "")
	m.AddTask("first", listens(t, true), nil)
	heard := false
	m.AddTask("late", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{1}, k.WaitFor(driver, asked))
		heard = true
	}, nil)
	require.True(t, m.Run())
	assert.Equal(t, told, m.ask(ask))
	assert.False(t, heard)
	assert.Equal(t, kernel.Done(), m.driver.Command(m.idOf("late"), listen, 0, 0))
	require.True(t, m.Continue())
	assert.True(t, heard)
	assert.Zero(t, m.ended, "the first has not ended")
}

// TestHostIsHostile: bytes that mean nothing get no answer; one that closes the port, and takes no answer, is served all the same.
func TestHostIsHostile(t *testing.T) {
	m := newMachine(t, "", "")
	m.AddTask("stays", listens(t, true), nil)
	require.True(t, m.Run())
	assert.Empty(t, m.ask("\x00\x02\xff"))
	assert.Empty(t, m.port.Give(ask+ask+ask, 1), "none of the answers is taken")
	require.True(t, m.Continue())
	m.port.Change(abi.OFF)
	require.True(t, m.Continue())
	m.port.Change(abi.OK)
	require.True(t, m.Continue())
	m.port.Take()
	assert.Equal(t, told, m.ask(ask))
	assert.Zero(t, m.ended)
}

// TestWithoutPort: arguments alone, where nobody asks.
func TestWithoutPort(t *testing.T) {
	m := &machine{Machine: kerneltest.New(t, capability.Mint()), t: t}
	m.driver.Init(&m.Kernel, m, []byte("a\x00"), nil, nil, m.Capabilities.MemoryAllocation)
	m.Kernel.OnTaskEnd(&m.driver, m.Capabilities.TaskManagement)
	m.Drivers[driver] = &m.driver
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, done, k.Command(driver, listen, 0, 0))
		assert.Equal(t, [4]uint64{uint64(abi.Success2U32), 2, 0}, k.Command(driver, sizes, 0, 0))
	}, nil)
	assert.False(t, m.Run())
	assert.Zero(t, m.ended)
}
