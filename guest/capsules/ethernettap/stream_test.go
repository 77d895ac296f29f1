package ethernettap

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// An appender is a driver whose command appends a chunk to the task's buffer.
type appender struct {
	grant kernel.Grant[uint32]
	chunk []byte
	first bool
	e     abi.ErrorCode
}

func (a *appender) Slots() *kernel.Slots { return a.grant.Slots() }

func (a *appender) Command(id kernel.TaskID, _, _, _ uint32) kernel.Result {
	a.grant.Enter(id, func(_ *uint32, task *kernel.TaskData) { a.first, a.e = appendChunk(task.ReadWrite(0), a.chunk) })
	return kernel.Done()
}

// appended has the driver append a chunk to a task's buffer, and returns what that is then, with what lies behind it.
func appended(t *testing.T, buffer, chunk []byte) (after []byte, first bool, e abi.ErrorCode) {
	m := kerneltest.New(t, capability.Mint())
	a := &appender{chunk: chunk}
	a.grant.Init(&m.Kernel, driver, kernel.SlotCounts{ReadWrite: 1}, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = a
	m.AddTask("task", func(k *kerneltest.Task) {
		at := k.Start.RAMStart + 64
		k.Memop(abi.MemopBrk, at+uint64(len(buffer))+8)
		k.Store(at, append(bytes.Clone(buffer), "behind.."...)...)
		k.AllowRW(driver, 0, at, uint64(len(buffer)))
		k.Command(driver, 1, 0, 0)
		after = k.Load(at, uint64(len(buffer))+8)
	}, nil)
	assert.False(t, m.Run())
	return after, a.first, a.e
}

// model is what kernel/src/utilities/streaming_process_slice.rs says of append_chunk, read from there.
func model(buffer, chunk []byte) (after []byte, first bool, e abi.ErrorCode) {
	after = bytes.Clone(buffer)
	if len(buffer) < 8 {
		return after, false, abi.SIZE
	}
	version, flags := binary.BigEndian.Uint16(buffer), binary.BigEndian.Uint16(buffer[2:])
	offset := binary.LittleEndian.Uint32(buffer[4:])
	end := uint64(offset) + uint64(len(chunk))
	switch {
	case version != 0 || flags>>2 != 0:
		return after, false, abi.INVAL
	case flags == 3:
		return after, false, abi.BUSY
	case end>>32 != 0:
		return after, false, abi.FAIL
	case end > uint64(len(buffer)-8):
		after[3] |= 1
		return after, false, abi.SIZE
	}
	copy(after[8+offset:], chunk)
	binary.LittleEndian.PutUint32(after[4:], uint32(end))
	return after, offset == 0 && len(chunk) > 0, abi.OK
}

// TestStream: the rules of the streaming process slice, one by one.
func TestStream(t *testing.T) {
	for _, tt := range []struct {
		name          string
		buffer, chunk string
		after         string
		first         bool
		e             abi.ErrorCode
	}{
		{"the first chunk", "\x00\x00\x00\x00\x00\x00\x00\x00......", "abc", "\x00\x00\x00\x00\x03\x00\x00\x00abc...", true, abi.OK},
		{"a second one", "\x00\x00\x00\x00\x03\x00\x00\x00abc...", "def", "\x00\x00\x00\x00\x06\x00\x00\x00abcdef", false, abi.OK},
		{"halt alone stops nothing", "\x00\x00\x00\x02\x00\x00\x00\x00...", "a", "\x00\x00\x00\x02\x01\x00\x00\x00a..", true, abi.OK},
		{"no room for all of it", "\x00\x00\x00\x00\x01\x00\x00\x00a.", "bc", "\x00\x00\x00\x01\x01\x00\x00\x00a.", false, abi.SIZE},
		{"a smaller one behind that", "\x00\x00\x00\x01\x01\x00\x00\x00a.", "b", "\x00\x00\x00\x01\x02\x00\x00\x00ab", false, abi.OK},
		{"no room, with halt", "\x00\x00\x00\x02\x01\x00\x00\x00a.", "bc", "\x00\x00\x00\x03\x01\x00\x00\x00a.", false, abi.SIZE},
		{"halted", "\x00\x00\x00\x03\x01\x00\x00\x00a.", "b", "\x00\x00\x00\x03\x01\x00\x00\x00a.", false, abi.BUSY},
		{"another version", "\x00\x01\x00\x00\x00\x00\x00\x00..", "a", "\x00\x01\x00\x00\x00\x00\x00\x00..", false, abi.INVAL},
		{"another version, the high byte", "\x80\x00\x00\x00\x00\x00\x00\x00..", "a", "\x80\x00\x00\x00\x00\x00\x00\x00..", false, abi.INVAL},
		{"a flag that nobody knows", "\x00\x00\x00\x04\x00\x00\x00\x00..", "a", "\x00\x00\x00\x04\x00\x00\x00\x00..", false, abi.INVAL},
		{"another one", "\x00\x00\x80\x00\x00\x00\x00\x00..", "a", "\x00\x00\x80\x00\x00\x00\x00\x00..", false, abi.INVAL},
		{"an offset behind the end", "\x00\x00\x00\x00\x03\x00\x00\x00..", "a", "\x00\x00\x00\x01\x03\x00\x00\x00..", false, abi.SIZE},
		{"the largest offset", "\x00\x00\x00\x00\xff\xff\xff\xff..", "a", "\x00\x00\x00\x00\xff\xff\xff\xff..", false, abi.FAIL},
		{"an offset that would be the largest", "\x00\x00\x00\x00\xfe\xff\xff\xff..", "a", "\x00\x00\x00\x01\xfe\xff\xff\xff..", false, abi.SIZE},
		{"no room for the header", "\x00\x00\x00\x00\x00\x00\x00", "a", "\x00\x00\x00\x00\x00\x00\x00", false, abi.SIZE},
		{"no buffer", "", "a", "", false, abi.SIZE},
		{"a header alone", "\x00\x00\x00\x00\x00\x00\x00\x00", "a", "\x00\x00\x00\x01\x00\x00\x00\x00", false, abi.SIZE},
		{"a chunk of nothing", "\x00\x00\x00\x00\x00\x00\x00\x00", "", "\x00\x00\x00\x00\x00\x00\x00\x00", false, abi.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			after, first, e := appended(t, []byte(tt.buffer), []byte(tt.chunk))
			assert.Equal(t, tt.after+"behind..", string(after))
			assert.Equal(t, tt.first, first)
			assert.Equal(t, tt.e, e)
			modelled, first, e := model([]byte(tt.buffer), []byte(tt.chunk))
			assert.Equal(t, tt.after, string(modelled))
			assert.Equal(t, tt.first, first)
			assert.Equal(t, tt.e, e)
		})
	}
}

// FuzzStream: whatever the task's buffer is, the driver does as Tock's would, and writes nowhere else.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00......"), []byte("abc"))
	f.Add([]byte("\x00\x00\x00\x02\x01\x00\x00\x00a."), []byte("bc"))
	f.Add([]byte("\x00\x00\x00\x00\xff\xff\xff\xff.."), []byte("a"))
	f.Fuzz(func(t *testing.T, buffer, chunk []byte) {
		buffer, chunk = buffer[:min(len(buffer), 4000)], chunk[:min(len(chunk), 4000)]
		want, wantFirst, wantE := model(buffer, chunk)
		after, first, e := appended(t, buffer, chunk)
		assert.Equal(t, append(want, "behind.."...), after)
		assert.Equal(t, wantFirst, first)
		assert.Equal(t, wantE, e)
	})
}
