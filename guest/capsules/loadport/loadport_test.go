package loadport

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/crc32c"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// port is a fake hil.Port: what the host sends comes in pieces of at most so many bytes, in interrupts of their own.
type port struct {
	machine *kerneltest.Machine
	client  hil.PortClient
	state   abi.ErrorCode
	in      []byte // from the host
	piece   int
	room    []byte // that waits to be filled
	sending []byte
	n       int
	busy    bool         // what an earlier client sent is on its way
	out     bytes.Buffer // to the host
}

const line = 7

func (p *port) SetPortClient(c hil.PortClient) { p.client = c }
func (p *port) State() abi.ErrorCode           { return p.state }

func (p *port) Send(buf []byte, n int) abi.ErrorCode {
	if p.state != abi.OK {
		return p.state
	}
	if p.busy {
		return abi.BUSY
	}
	p.sending, p.n = buf, n
	p.machine.CPU.Raise(line)
	return abi.OK
}

func (p *port) Post([]byte) abi.ErrorCode { panic("nothing is posted") }

func (p *port) Receive(buf []byte) abi.ErrorCode {
	if p.state != abi.OK {
		return p.state
	}
	p.room = buf
	p.machine.CPU.Raise(line)
	return abi.OK
}

func (p *port) interrupt() {
	if buf := p.sending; buf != nil {
		p.sending = nil
		p.out.Write(buf[:p.n])
		p.client.Sent(buf, p.n, abi.OK)
	}
	if buf := p.room; buf != nil && len(p.in) != 0 {
		n := copy(buf, p.in[:min(p.piece, len(p.in))])
		p.in, p.room = p.in[n:], nil
		p.client.Received(buf, n, abi.OK)
	}
}

// set opens or closes the port.
func (p *port) set(state abi.ErrorCode) {
	p.state, p.room, p.sending = state, nil, nil
	p.client.PortChanged()
}

type machine struct {
	*kerneltest.Machine
	t      testing.TB
	loader kernel.Loader
	saver  kernel.Saver
	driver LoadPort
	port   port
}

func newMachine(t testing.TB) *machine {
	m := &machine{Machine: kerneltest.New(t, capability.Mint()), t: t}
	m.CPU.TakesTables, m.Forever = true, true
	m.port = port{machine: m.Machine, state: abi.OFF, piece: 100}
	m.Lines[line] = m.port.interrupt
	m.loader.Init(&m.Kernel, &m.CPU, &m.Reuse, m.Capabilities.TaskManagement)
	m.saver.Init(&m.Kernel, &m.CPU, &m.loader, m.Capabilities.TaskManagement)
	m.driver.Init(&m.Kernel, &m.port, &m.loader, &m.saver, false, m.Capabilities.TaskManagement)
	for slot := 1; slot < kernel.MaxTasks; slot++ {
		m.CPU.Programs[slot] = waits
	}
	m.AddTask("keeper", waits, nil)
	require.True(t, m.Run())
	return m
}

func waits(k *kerneltest.Task) {
	if k.Restored {
		k.GoOn()
	}
	for {
		k.Wait()
	}
}

func frame(kind byte, payload ...byte) []byte {
	b := []byte{abi.LoadVersion, kind, byte(len(payload)), byte(len(payload) >> 8)}
	b = binary.LittleEndian.AppendUint32(b, crc32c.Add(crc32c.Sum(b), payload))
	return append(b, payload...)
}

func number(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// send has bytes come from the host, and returns all that is answered.
func (m *machine) send(b []byte) []byte {
	m.t.Helper()
	m.port.in = append(m.port.in, b...)
	m.port.out.Reset()
	m.CPU.Raise(line)
	require.True(m.t, m.Continue())
	return bytes.Clone(m.port.out.Bytes())
}

// ask is send of a frame. It returns the status, and what stands behind it.
func (m *machine) ask(kind byte, payload ...byte) (abi.ErrorCode, []byte) {
	m.t.Helper()
	b := m.send(frame(kind, payload...))
	require.NotEmpty(m.t, b)
	answer := b[abi.LoadHeader:]
	require.Equal(m.t, frame(kind|abi.LoadAnswer, answer...), b)
	return abi.ErrorCode(answer[0]), answer[1:]
}

// load loads an object as the host does.
func (m *machine) load(object []byte) (abi.ErrorCode, []byte) {
	if e := m.write(object); e != abi.OK {
		return e, nil
	}
	return m.ask(abi.LoadLoad)
}

// write sets up an object, or a task's state.
func (m *machine) write(object []byte) abi.ErrorCode {
	if e, _ := m.ask(abi.LoadSetUp, number(uint32(len(object)))...); e != abi.OK {
		return e
	}
	const piece = abi.LoadPayload - 4
	for at := 0; at < len(object); at += piece {
		if e, _ := m.ask(abi.LoadWrite, append(number(uint32(at)), object[at:min(at+piece, len(object))]...)...); e != abi.OK {
			return e
		}
	}
	return abi.OK
}

// save saves a task as the host does.
func (m *machine) save(name string) (state []byte, e abi.ErrorCode) {
	for b := m.send(frame(abi.LoadSave, []byte(name)...)); len(b) != 0; {
		size := int(binary.LittleEndian.Uint16(b[2:]))
		answer := b[abi.LoadHeader:][:size]
		require.Equal(m.t, frame(abi.LoadSave|abi.LoadAnswer, answer...), b[:abi.LoadHeader+size])
		state, e = append(state, answer[1:]...), abi.ErrorCode(answer[0])
		b = b[abi.LoadHeader+size:]
		require.Equal(m.t, size == 1, len(b) == 0, "the last one is the status alone")
	}
	return state, e
}

// TestHostLooksAfterTasks: it pauses and resumes a task, kills it, and brings it back.
func TestHostLooksAfterTasks(t *testing.T) {
	m := newMachine(t)
	m.port.set(abi.OK)
	state := func() byte { return m.send(frame(abi.LoadTasks))[abi.LoadHeader+1+12] }
	for _, c := range []struct {
		kind byte
		want abi.ErrorCode
		then byte
	}{
		{abi.LoadResume, abi.ALREADY, 1},
		{abi.LoadPause, abi.OK, abi.LoadPaused},
		{abi.LoadPause, abi.ALREADY, abi.LoadPaused},
		{abi.LoadResume, abi.OK, 1},
	} {
		e, _ := m.ask(c.kind, []byte("keeper")...)
		assert.Equal(t, c.want, e)
		assert.Equal(t, c.then, state())
	}
	free := m.Reuse.Free()
	saved, e := m.save("1")
	require.Equal(t, abi.OK, e)
	assert.Equal(t, free, m.Reuse.Free())
	for i, pid := range []uint32{2, 3} {
		if i == 1 {
			e, _ := m.ask(abi.LoadKill, []byte("keeper")...)
			assert.Equal(t, abi.OK, e)
			assert.EqualValues(t, 4, state())
			_, e = m.save("keeper")
			assert.Equal(t, abi.INVAL, e)
			for _, kind := range []byte{abi.LoadKill, abi.LoadPause, abi.LoadResume} {
				e, _ = m.ask(kind, []byte("keeper")...)
				assert.Equal(t, abi.INVAL, e)
			}
		}
		require.Equal(t, abi.OK, m.write(saved))
		e, more := m.ask(abi.LoadRestore, []byte("keeper")...)
		assert.Equal(t, []any{abi.OK, number(pid)}, []any{e, more})
		assert.EqualValues(t, 1, state())
		assert.Equal(t, free, m.Reuse.Free())
	}
	for _, kind := range []byte{abi.LoadPause, abi.LoadResume, abi.LoadKill, abi.LoadSave, abi.LoadRestore} {
		e, _ = m.ask(kind, []byte("nobody")...)
		assert.Equal(t, abi.NODEVICE, e)
	}
	e, _ = m.ask(abi.LoadRestore, []byte("keeper")...)
	assert.Equal(t, abi.INVAL, e, "nothing was written")
	saved[40] ^= 1
	require.Equal(t, abi.OK, m.write(saved))
	e, _ = m.ask(abi.LoadRestore, []byte("keeper")...)
	assert.Equal(t, abi.INVAL, e)
	assert.Equal(t, free, m.Reuse.Free())
}

// TestSavingEndsWithThePort: when the port is closed in the middle of a state the task goes on, and memory is there again.
func TestSavingEndsWithThePort(t *testing.T) {
	m := newMachine(t)
	m.port.set(abi.OK)
	free := m.Reuse.Free()
	m.port.in = frame(abi.LoadSave, []byte("keeper")...)
	m.Lines[line] = func() {
		if m.driver.state == saving {
			assert.Less(t, m.Reuse.Free(), free)
			m.port.set(abi.OFF)
			return
		}
		m.port.interrupt()
	}
	m.send(nil)
	assert.Equal(t, closed, m.driver.state)
	assert.Equal(t, free, m.Reuse.Free())
	m.Lines[line] = m.port.interrupt
	m.port.set(abi.OK)
	_, e := m.save("keeper")
	assert.Equal(t, abi.OK, e)
}

// TestSavingEndsWithAnAnswerThatCannotBeSent: the same where the port refuses a piece of a state, and stays open.
func TestSavingEndsWithAnAnswerThatCannotBeSent(t *testing.T) {
	m := newMachine(t)
	m.port.set(abi.OK)
	free := m.Reuse.Free()
	m.port.in = frame(abi.LoadSave, []byte("keeper")...)
	m.Lines[line] = func() {
		if m.driver.state == saving {
			assert.Less(t, m.Reuse.Free(), free)
			m.port.busy = true
		}
		m.port.interrupt()
	}
	m.send(nil)
	assert.Equal(t, broken, m.driver.state)
	assert.Equal(t, free, m.Reuse.Free())
}

// TestHostLoadsAndUnloads: what the host asks is done, in whatever pieces it comes.
func TestHostLoadsAndUnloads(t *testing.T) {
	for _, piece := range []int{1, 7, 5000} {
		m := newMachine(t)
		m.port.piece = piece
		assert.Empty(t, m.send(nil))
		m.port.set(abi.OK)
		free := m.Reuse.Free()
		e, _ := m.ask(abi.LoadHello)
		assert.Equal(t, abi.OK, e)
		object := kerneltest.Object(t, "late", func(s *tbfbuild.Spec) { s.SHA256, s.Binary = true, make([]byte, 9000) })
		e, more := m.load(object)
		assert.Equal(t, abi.OK, e, m.Log.String())
		assert.Equal(t, number(2), more)
		e, more = m.load(kerneltest.Object(t, "late", func(s *tbfbuild.Spec) { s.ShortID = 0x1234 }))
		assert.Equal(t, []any{abi.OK, number(3)}, []any{e, more})

		row := func(pid, short uint32, state byte, name string) []byte {
			b := append(append(append([]byte{0}, number(pid)...), number(short)...), number(0)...)
			return frame(abi.LoadTasks|abi.LoadAnswer, append(append(b, state), name...)...)
		}
		want := append(row(1, 0, 1, "keeper"), append(row(2, 0, 1, "late"), append(row(3, 0x1234, 1, "late"), frame(abi.LoadTasks|abi.LoadAnswer, 0)...)...)...)
		assert.Equal(t, want, m.send(frame(abi.LoadTasks)))

		for name, want := range map[string]abi.ErrorCode{"late": abi.FAIL, "lat": abi.NODEVICE, "": abi.NODEVICE, "0": abi.NODEVICE, "02": abi.NODEVICE, "12": abi.NODEVICE} {
			e, _ = m.ask(abi.LoadUnload, []byte(name)...)
			assert.Equal(t, want, e, "%q", name)
		}
		for _, name := range []string{"2", "late"} {
			e, _ = m.ask(abi.LoadUnload, []byte(name)...)
			assert.Equal(t, abi.OK, e, "%q", name)
		}
		assert.Equal(t, free, m.Reuse.Free())
	}
}

// TestRefusals: what cannot be done is answered, and the conversation goes on.
func TestRefusals(t *testing.T) {
	m := newMachine(t)
	m.port.set(abi.OK)
	for _, c := range []struct {
		name    string
		kind    byte
		payload []byte
		want    abi.ErrorCode
	}{
		{"a kind that there is not", 99, nil, abi.NOSUPPORT},
		{"a size of another length", abi.LoadSetUp, []byte{1, 2}, abi.INVAL},
		{"no object has that size", abi.LoadSetUp, number(3), abi.INVAL},
		{"more than there is", abi.LoadSetUp, number(1 << 30), abi.NOMEM},
		{"nothing was set up", abi.LoadWrite, number(0), abi.INVAL},
		{"no offset", abi.LoadWrite, []byte{1}, abi.INVAL},
		{"nothing to load", abi.LoadLoad, nil, abi.INVAL},
		{"set up", abi.LoadSetUp, number(5000), abi.OK},
		{"twice", abi.LoadSetUp, number(5000), abi.BUSY},
		{"outside", abi.LoadWrite, append(number(4999), 1, 2), abi.INVAL},
		{"what is none", abi.LoadLoad, nil, abi.FAIL},
		{"set up again", abi.LoadSetUp, number(5000), abi.OK},
		{"given up", abi.LoadHello, nil, abi.OK},
		{"set up again", abi.LoadSetUp, number(5000), abi.OK},
	} {
		e, _ := m.ask(c.kind, c.payload...)
		assert.Equal(t, c.want, e, c.name)
	}
	before := m.Reuse.Free()
	m.port.set(abi.OFF)
	assert.Equal(t, before+2*abi.PageSize, m.Reuse.Free(), "with the port the object is gone")
	m.port.set(abi.OK)
	e, _ := m.ask(abi.LoadHello)
	assert.Equal(t, abi.OK, e)
}

// TestNoFrame: what is no frame ends the conversation, until the port is opened anew, and what was set up is given up.
func TestNoFrame(t *testing.T) {
	good := frame(abi.LoadHello)
	for name, b := range map[string][]byte{
		"another version": append([]byte{2}, good[1:]...),
		"too long":        {abi.LoadVersion, abi.LoadHello, 1, 4, 0, 0, 0, 0},
		"another sum":     append(bytes.Clone(good[:7]), good[7]^1),
	} {
		m := newMachine(t)
		free := m.Reuse.Free()
		m.port.set(abi.OK)
		m.ask(abi.LoadSetUp, number(5000)...)
		assert.Equal(t, frame(abi.LoadAnswer, byte(abi.INVAL)), m.send(b), name)
		assert.Equal(t, free, m.Reuse.Free(), name)
		assert.Empty(t, m.send(good), name)
		m.port.in = nil
		m.port.set(abi.OFF)
		m.port.set(abi.OK)
		e, _ := m.ask(abi.LoadHello)
		assert.Equal(t, abi.OK, e, name)
	}
}

// TestMadeAnew: a driver that is made anew says so, also while the port still sends what its predecessor said, and what that had begun is given up.
func TestMadeAnew(t *testing.T) {
	for _, busy := range []bool{false, true} {
		m := newMachine(t)
		m.port.set(abi.OK)
		free := m.Reuse.Free()
		e, _ := m.ask(abi.LoadSetUp, number(5000)...)
		require.Equal(t, abi.OK, e)
		m.port.room, m.port.busy = nil, busy
		m.loader.Abort() // as the board does when a capsule falls
		m.saver.Abort()
		m.driver = LoadPort{}
		m.driver.Init(&m.Kernel, &m.port, &m.loader, &m.saver, true, m.Capabilities.TaskManagement)
		if busy {
			m.port.busy = false
			m.driver.PortChanged()
		}
		assert.Equal(t, free, m.Reuse.Free())
		assert.Equal(t, frame(abi.LoadHello|abi.LoadAnswer, byte(abi.CANCEL)), m.send(nil), busy)
		m.driver.PortChanged()
		assert.Empty(t, m.send(nil), "it says so once")
		e, _ = m.ask(abi.LoadSetUp, number(5000)...)
		assert.Equal(t, abi.OK, e)
	}
}

// TestCallbacksThatNobodyAskedFor are ignored.
func TestCallbacksThatNobodyAskedFor(t *testing.T) {
	m := newMachine(t)
	d := &m.driver
	late := func() {
		d.Sent(d.out[:], 1, abi.OK)
		d.Received(d.in[:], 1, abi.FAIL)
		d.SetUpDone()
		d.LoadDone(kernel.TaskID{}, abi.OK)
		d.UnloadDone()
		d.SaveDone(abi.OK)
		d.RestoreDone(kernel.TaskID{}, abi.OK)
		d.PortChanged()
	}
	late()
	assert.Empty(t, m.send(nil))
	m.port.set(abi.OK)
	late()
	e, _ := m.ask(abi.LoadHello)
	assert.Equal(t, abi.OK, e)
}

// FuzzHost: whatever the host sends, the kernel goes on, and when the port is closed all memory is there again but that of tasks that were loaded.
func FuzzHost(f *testing.F) {
	object := kerneltest.Object(f, "late", nil)
	f.Add(append(append(frame(abi.LoadSetUp, number(uint32(len(object)))...), frame(abi.LoadWrite, append(number(0), object[:1000]...)...)...), frame(abi.LoadLoad)...), uint8(9))
	f.Add(append(frame(abi.LoadTasks), frame(abi.LoadUnload, []byte("keeper")...)...), uint8(1))
	f.Add(append(frame(abi.LoadPause, []byte("keeper")...), frame(abi.LoadSave, []byte("keeper")...)...), uint8(50))
	f.Add(append(frame(abi.LoadKill, []byte("keeper")...), frame(abi.LoadRestore, []byte("keeper")...)...), uint8(3))
	f.Add([]byte{1, 2, 3}, uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		m := newMachine(t)
		m.port.piece = 1 + int(piece)
		free := m.Reuse.Free()
		m.port.set(abi.OK)
		for len(b) > 1 { // the first byte says how much is a frame
			n := min(int(b[0]), len(b)-1)
			if n > 0 && n < 200 {
				m.send(frame(b[1], b[2:min(n+1, len(b))]...))
			} else {
				m.send(b[1 : 1+n])
			}
			b = b[1+n:]
		}
		m.port.set(abi.OFF)
		require.True(t, m.Continue())
		var seen kernel.Task
		names := 0
		m.Kernel.EachTask(m.Capabilities.TaskManagement, &seen, func() { names++ })
		if names == 1 && seen.State() == kernel.Unused {
			require.GreaterOrEqual(t, m.Reuse.Free(), free)
		}
	})
}
