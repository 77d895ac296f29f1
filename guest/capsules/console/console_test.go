package console

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverConsole

// chunkSize is how much the console sends at once here.
const chunkSize = 256

func newMachine(t *testing.T) *kerneltest.Machine {
	m := kerneltest.New(t, capability.Mint())
	c := new(Console)
	c.Init(&m.Kernel, &m.Line, make([]byte, chunkSize), m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = c
	return m
}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }

// print writes text and waits until it was sent. It returns the upcall's arguments.
func print(k *kerneltest.Task, text string) [4]uint64 {
	at := k.Start.RAMStart + 64
	k.Store(at, []byte(text)...)
	k.AllowRO(driver, writeBuffer, at, uint64(len(text)))
	if r := k.Command(driver, write, uint64(len(text)), 0); r != [4]uint64{128} {
		return r
	}
	return k.WaitFor(driver, wrote)
}

func TestWrite(t *testing.T) {
	m := newMachine(t)
	long := strings.Repeat("0123456789", 100)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{128}, k.Command(driver, exists, 0, 0))
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 4, 0, 0))
		assert.Equal(t, [4]uint64{6}, print(k, "hello\n"))
		assert.Equal(t, [4]uint64{1000}, print(k, long), "more than a chunk")
		k.Command(driver, write, 5000, 0)
		assert.Equal(t, [4]uint64{1000}, k.WaitFor(driver, wrote), "no more than the buffer has")
		k.AllowRO(driver, writeBuffer, 0, 0)
		assert.Equal(t, [4]uint64{128}, k.Command(driver, write, 10, 0))
		assert.Equal(t, [4]uint64{0}, k.WaitFor(driver, wrote), "no buffer: nothing is written")
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, "hello\n"+long+long, strings.Join(m.Line.Sent, ""))
}

func TestWritesAreSentWhole(t *testing.T) {
	m := newMachine(t)
	for _, letter := range []string{"a", "b", "c"} {
		text := strings.Repeat(letter, 700) + "\n"
		m.AddTask(letter, func(k *kerneltest.Task) {
			for range 5 {
				assert.Equal(t, [4]uint64{701}, print(k, text))
			}
		}, nil)
	}
	assert.False(t, m.Run())
	lines := strings.Split(strings.TrimSuffix(strings.Join(m.Line.Sent, ""), "\n"), "\n")
	assert.Len(t, lines, 15)
	for _, l := range lines {
		assert.Equal(t, strings.Repeat(l[:1], 700), l)
	}
	assert.Equal(t, "abc", lines[0][:1]+lines[1][:1]+lines[2][:1], "in the order they were begun")
}

func TestOneWriteAtATime(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		k.AllowRO(driver, writeBuffer, k.Start.RAMStart, 10)
		k.Command(driver, write, 10, 0)
		assert.Equal(t, failed(abi.BUSY), k.Command(driver, write, 10, 0))
		assert.Equal(t, [4]uint64{10}, k.WaitFor(driver, wrote))
	}, nil)
	assert.False(t, m.Run())
}

func TestBufferTakenBackDuringAWrite(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		k.AllowRO(driver, writeBuffer, k.Start.RAMStart, 1000)
		k.Command(driver, write, 1000, 0)
		k.AllowRO(driver, writeBuffer, 0, 0)
		assert.Equal(t, [4]uint64{chunkSize}, k.WaitFor(driver, wrote), "what was sent before")
	}, nil)
	assert.False(t, m.Run())
}

func TestWriterEndsDuringAWrite(t *testing.T) {
	m := newMachine(t)
	m.AddTask("ends", func(k *kerneltest.Task) {
		k.AllowRO(driver, writeBuffer, k.Start.RAMStart, 1000)
		k.Command(driver, write, 1000, 0)
	}, nil)
	m.AddTask("waits", func(k *kerneltest.Task) { assert.Equal(t, [4]uint64{4}, print(k, "next")) }, nil)
	assert.False(t, m.Run())
	assert.Equal(t, "next", m.Line.Sent[len(m.Line.Sent)-1])
}

func TestLineThatRefuses(t *testing.T) {
	m := newMachine(t)
	m.Line.Refuse = abi.OFF
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{0}, print(k, "lost"), "nothing was written")
		k.AllowRW(driver, readBuffer, k.Start.RAMStart, 8)
		assert.Equal(t, failed(abi.OFF), k.Command(driver, read, 8, 0))
	}, nil)
	assert.False(t, m.Run())
}

func TestRead(t *testing.T) {
	m := newMachine(t)
	m.Line.Type("typed ")
	m.AddTask("task", func(k *kerneltest.Task) {
		at := k.Start.RAMStart
		assert.Equal(t, failed(abi.SIZE), k.Command(driver, read, 5, 0), "no buffer")
		k.AllowRW(driver, readBuffer, at, 100)
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, read, 65, 0), "more than 64")
		assert.Equal(t, [4]uint64{128}, k.Command(driver, read, 10, 0))
		assert.Equal(t, failed(abi.BUSY), k.Command(driver, read, 10, 0))
		m.Line.Type("ahead")
		assert.Equal(t, [4]uint64{0, 10}, k.WaitFor(driver, readDone))
		assert.Equal(t, "typed ahea", string(k.Load(at, 10)))
		k.AllowRW(driver, readBuffer, at, 1)
		k.Command(driver, read, 64, 0)
		assert.Equal(t, [4]uint64{0, 1}, k.WaitFor(driver, readDone), "no more than the buffer takes")
		assert.Equal(t, "d", string(k.Load(at, 1)))
	}, nil)
	assert.False(t, m.Run())
}

func TestAbortRead(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		at := k.Start.RAMStart
		k.AllowRW(driver, readBuffer, at, 10)
		assert.Equal(t, [4]uint64{128}, k.Command(driver, abortRead, 0, 0), "none to abort")
		k.Command(driver, read, 10, 0)
		m.Line.Type("abc")
		k.Spin(10)
		assert.Equal(t, [4]uint64{128}, k.Command(driver, abortRead, 0, 0))
		assert.Equal(t, [4]uint64{uint64(abi.CANCEL), 3}, k.WaitFor(driver, readDone))
		assert.Equal(t, "abc", string(k.Load(at, 3)))
		k.Command(driver, read, 2, 0)
		m.Line.Type("de")
		assert.Equal(t, [4]uint64{0, 2}, k.WaitFor(driver, readDone))
		assert.Equal(t, "dec", string(k.Load(at, 3)))
	}, nil)
	assert.False(t, m.Run())
}

func TestReaderThatEndedMakesRoom(t *testing.T) {
	m := newMachine(t)
	m.AddTask("ends", func(k *kerneltest.Task) {
		k.AllowRW(driver, readBuffer, k.Start.RAMStart, 10)
		k.Command(driver, read, 10, 0)
	}, nil)
	m.AddTask("reads", func(k *kerneltest.Task) {
		k.AllowRW(driver, readBuffer, k.Start.RAMStart, 10)
		assert.Equal(t, [4]uint64{128}, k.Command(driver, read, 3, 0))
		m.Line.Type("xyz")
		assert.Equal(t, [4]uint64{0, 3}, k.WaitFor(driver, readDone))
	}, nil)
	assert.False(t, m.Run())
}

func TestNoRoom(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, write, 1, 0))
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, read, 1, 0))
	}, nil)
	assert.False(t, m.Run())
}
