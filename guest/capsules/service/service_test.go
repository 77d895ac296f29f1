package service

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const driver = abi.DriverService

var done = [4]uint64{uint64(abi.Success)}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{uint64(abi.Failure), uint64(e)} }
func value(v uint64) [4]uint64         { return [4]uint64{uint64(abi.SuccessU32), v} }
func event(a, b, c uint64) [4]uint64   { return [4]uint64{a, b, c} }

// machine is a kernel with the driver on a port whose host is the test.
type machine struct {
	*kerneltest.Machine
	t      testing.TB
	driver Service
	port   kerneltest.Port
	memory [MemorySize]byte
}

func newMachine(t testing.TB) *machine {
	m := &machine{Machine: kerneltest.NewWithRAM(t, capability.Mint(), 4<<20), t: t}
	m.Forever, m.Idle = true, &m.driver
	m.driver.Init(&m.Kernel, &m.port, m.memory[:], false, m.Capabilities)
	m.Kernel.OnTaskEnd(&m.driver, m.Capabilities.TaskManagement)
	m.Drivers[driver] = &m.driver
	return m
}

// add adds a task with 100 pages of RAM.
func (m *machine) add(name string, p kerneltest.Program) {
	m.AddTask(name, func(k *kerneltest.Task) {
		k.Memop(abi.MemopBrk, k.Start.RAMStart+90*abi.PageSize)
		p(k)
	}, func(s *tbfbuild.Spec) { s.MinimumRAM = 100 * abi.PageSize })
}

// boot loads the tasks, and says Hello. It returns what tasks ask by then.
func (m *machine) boot() []frame {
	m.t.Helper()
	require.True(m.t, m.Run())
	return m.hello()
}

// hello says Hello, and returns what is sent behind the answer.
func (m *machine) hello() []frame {
	m.t.Helper()
	all := m.say(frame{kind: abi.ServiceHello})
	require.NotEmpty(m.t, all)
	assert.Equal(m.t, frame{kind: abi.ServiceHello}, all[0])
	return all[1:]
}

// frame is one of guest/abi/service.go.
type frame struct {
	kind    byte
	status  abi.ErrorCode
	number  uint32
	last    uint32
	name    string
	payload string
}

func (f frame) bytes() []byte {
	b := []byte{abi.ServiceVersion, f.kind, byte(f.status), byte(len(f.name))}
	for _, v := range []uint32{f.number, uint32(len(f.payload)), f.last} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(append(b, f.name...), f.payload...)
}

// frames are those of a stream, which consists of whole ones.
func frames(t testing.TB, b string) (all []frame) {
	t.Helper()
	for b != "" {
		require.GreaterOrEqual(t, len(b), abi.ServiceHeader)
		le := binary.LittleEndian
		head := []byte(b[:abi.ServiceHeader])
		require.EqualValues(t, abi.ServiceVersion, head[0])
		name, size := int(head[3]), int(le.Uint32(head[8:]))
		b = b[abi.ServiceHeader:]
		require.GreaterOrEqual(t, len(b), name+size)
		require.LessOrEqual(t, abi.ServiceHeader+name+size, hil.PortPiece, "or a part may be sent alone, and the Hello of a driver that was made anew is taken for the rest")
		all = append(all, frame{head[1], abi.ErrorCode(head[2]), le.Uint32(head[4:]), le.Uint32(head[12:]), b[:name], b[name : name+size]})
		b = b[name+size:]
	}
	return all
}

// whole joins parts with the frame behind them.
func whole(t testing.TB, parts []frame) frame {
	t.Helper()
	require.NotEmpty(t, parts)
	last := parts[len(parts)-1]
	text := ""
	for _, f := range parts {
		assert.Equal(t, last.number, f.number)
		text += f.payload
	}
	last.payload = text
	return last
}

// send has bytes come from the host in pieces, and returns all that is sent meanwhile.
func (m *machine) send(text string, piece int) string {
	m.t.Helper()
	var out strings.Builder
	for going := true; going; {
		rest := m.port.Give(text, piece)
		going = rest != text
		text = rest
		require.True(m.t, m.Continue())
		for sent := m.port.Take(); sent != ""; sent = m.port.Take() {
			out.WriteString(sent)
			going = true
			require.True(m.t, m.Continue())
		}
	}
	return out.String()
}

// say has frames come from the host, and returns those that are sent then.
func (m *machine) say(all ...frame) []frame {
	m.t.Helper()
	var b []byte
	for _, f := range all {
		b = append(b, f.bytes()...)
	}
	return frames(m.t, m.send(string(b), 1000))
}

// call calls a task by number 100, and returns the answer.
func (m *machine) call(name, request string) frame {
	m.t.Helper()
	got := whole(m.t, m.say(called(100, name, request)))
	assert.EqualValues(m.t, 100, got.number)
	got.number = 0
	return got
}

func called(number uint32, name, request string) frame {
	return frame{kind: abi.ServiceCall, number: number, last: abi.ServicePayload, name: name, payload: request}
}

func answerOf(payload string) frame { return frame{kind: abi.ServiceAnswer, payload: payload} }

func refusal(e abi.ErrorCode, reason uint32) frame {
	return frame{kind: abi.ServiceAnswer, status: e, last: reason}
}

func numbered(number uint32, f frame) frame {
	f.number = number
	return f
}

// Where a task has its buffers.
const bufferSize = 16 * abi.PageSize

func at(k *kerneltest.Task, buffer uint64) uint64 {
	return k.Start.RAMStart + abi.PageSize + buffer*bufferSize
}

// Numbers of buffers, beside those that are shared by default.
const (
	requests = iota
	answers
	names
	asks
	replies
)

// share shares all buffers, and begins to serve.
func share(k *kerneltest.Task) {
	k.AllowRW(driver, requestBuffer, at(k, requests), bufferSize)
	k.AllowRW(driver, replyBuffer, at(k, replies), bufferSize)
	k.AllowRO(driver, answerBuffer, at(k, answers), bufferSize)
	k.AllowRO(driver, askBuffer, at(k, asks), bufferSize)
}

// reply answers a call with bytes, and waits until they were read.
func reply(k *kerneltest.Task, call uint64, text string) [4]uint64 {
	k.Store(at(k, answers), []byte(text)...)
	r := k.Command(driver, answer, call, uint64(len(text)))
	if r[0] == uint64(abi.SuccessU32) && r[1] != 0 {
		e := k.WaitFor(driver, answerRead)
		return [4]uint64{e[0], r[1]}
	}
	return r
}

// askHost begins a call of the host's.
func askHost(k *kerneltest.Task, name, text string) [4]uint64 {
	k.Store(at(k, names), []byte(name)...)
	k.AllowRO(driver, nameBuffer, at(k, names), uint64(len(name)))
	k.Store(at(k, asks), []byte(text)...)
	return k.Command(driver, ask, uint64(len(text)), 0)
}

// echo serves: each answer is the request, with what it was in front.
func echo(k *kerneltest.Task) {
	share(k)
	k.Command(driver, serve, 0, 0)
	for {
		e := k.WaitFor(driver, requestCame)
		reply(k, e[0], "<"+string(k.Load(at(k, requests), e[1]))+">")
	}
}

func waits(k *kerneltest.Task) {
	for {
		k.Wait()
	}
}

func TestCommands(t *testing.T) {
	m := newMachine(t)
	m.add("task", func(k *kerneltest.Task) {
		assert.Equal(t, done, k.Command(driver, exists, 0, 0))
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 6, 0, 0))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, answer, 1, 0), "no such call")
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, refuse, 1, 1))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, ask, 0, 0), "no name")
		share(k)
		assert.Equal(t, failed(abi.INVAL), askHost(k, strings.Repeat("x", abi.ServiceName+1), ""))
		k.AllowRO(driver, nameBuffer, at(k, names), 1)
		assert.Equal(t, failed(abi.SIZE), k.Command(driver, ask, bufferSize+1, 0))
		assert.Equal(t, done, k.Command(driver, serve, 0, 0))
		assert.Equal(t, failed(abi.ALREADY), k.Command(driver, serve, 0, 0))
		e := k.WaitFor(driver, requestCame)
		assert.Equal(t, event(e[0], 5, 9), e)
		assert.Equal(t, "bytes", string(k.Load(at(k, requests), 5)))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, answer, e[0]+1, 0))
		for _, wrong := range []uint64{0, uint64(abi.NOACK) + 1, 1 << 31} {
			assert.Equal(t, failed(abi.INVAL), k.Command(driver, refuse, e[0], wrong), wrong)
		}
		assert.Equal(t, value(0), k.Command(driver, answer, e[0], 0))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, answer, e[0], 0), "it is answered")
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, refuse, e[0], 1), "it is answered")
		e = k.WaitFor(driver, requestCame)
		assert.Equal(t, done, k.Command(driver, refuse, e[0], uint64(abi.NOACK)))
		e = k.WaitFor(driver, requestCame)
		assert.Equal(t, failed(abi.SIZE), k.Command(driver, answer, e[0], 10), "the caller takes 9")
		e = k.WaitFor(driver, requestCame)
		k.AllowRO(driver, answerBuffer, at(k, answers), 3)
		assert.Equal(t, failed(abi.SIZE), k.Command(driver, answer, e[0], 4), "there are 3")
		k.Command(driver, usedUp, 0, 0)
	})
	m.boot()
	request := frame{kind: abi.ServiceCall, number: 7, last: 9, name: "task", payload: "bytes"}
	for i, want := range []frame{answerOf(""), refusal(abi.NOACK, 0), refusal(abi.SIZE, 0), refusal(abi.SIZE, 0)} {
		assert.Equal(t, []frame{numbered(7, want)}, m.say(request), i)
	}
	assert.Equal(t, []frame{numbered(7, refusal(abi.NODEVICE, 0))}, m.say(request), "it has ended")
}

// TestPieces: frames in pieces of any size, and several in one.
func TestPieces(t *testing.T) {
	for _, piece := range []int{1, 2, 15, 16, 17, 100, 1024} {
		m := newMachine(t)
		m.add("echo", echo)
		m.boot()
		var b []byte
		var want []frame
		for n := range uint32(5) {
			text := strings.Repeat("ab", int(n)*10)
			b = append(b, called(n, "echo", text).bytes()...)
			want = append(want, numbered(n, answerOf("<"+text+">")))
		}
		assert.Equal(t, want[:1], frames(t, m.send(string(called(0, "echo", "").bytes()), piece)), piece)
		for n := range want {
			text := strings.Repeat("ab", n*10)
			assert.Equal(t, want[n:n+1], frames(t, m.send(string(called(uint32(n), "echo", text).bytes()), piece)), piece)
		}
		all := frames(t, m.send(string(b), piece)) // one is worked on, one waits, the others find it busy
		assert.Len(t, all, len(want))
		for _, f := range all {
			assert.True(t, f.status == abi.BUSY || f == want[f.number], "%v", f)
		}
	}
}

// TestPayloads: of any length, in parts to the host, each bounded.
func TestPayloads(t *testing.T) {
	m := newMachine(t)
	m.add("echo", echo)
	m.boot()
	for _, n := range []int{0, 1, lastSize - 2, lastSize - 1, outputSize, 4*outputSize + 5, bufferSize - 2} {
		text := strings.Repeat("0123456789\n", n/11+1)[:n]
		got := m.say(called(1, "echo", text))
		assert.Equal(t, numbered(1, answerOf("<"+text+">")), whole(t, got), n)
		for _, f := range got[:len(got)-1] {
			assert.EqualValues(t, abi.ServicePart, f.kind)
			assert.LessOrEqual(t, len(f.payload), outputSize)
		}
	}
	assert.Equal(t, refusal(abi.SIZE, 0), m.call("echo", strings.Repeat("x", bufferSize+1)))
	assert.Equal(t, answerOf("<again>"), m.call("echo", "again"))
}

// TestQuickHost: a host that takes all at once gets one part of a long payload in a piece of work.
func TestQuickHost(t *testing.T) {
	m := newMachine(t)
	var sent strings.Builder
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		k.Command(driver, serve, 0, 0)
		e := k.WaitFor(driver, requestCame)
		assert.Equal(t, value(bufferSize-(outputSize-abi.ServiceHeader)), k.Command(driver, answer, e[0], bufferSize), "what is to be sent behind the call")
		k.WaitFor(driver, answerRead)
		waits(k)
	})
	m.boot()
	m.port.AtOnce = func(text string) { sent.WriteString(text) }
	m.say(called(1, "task", ""))
	assert.Len(t, whole(t, frames(t, sent.String())).payload, bufferSize)
}

// TestRefusedBetweenParts: a call that is refused while a long payload is on its way is answered behind that, and what the host says then is heard.
func TestRefusedBetweenParts(t *testing.T) {
	const line = 9
	for _, size := range []int{0, 10, 3000} {
		m := newMachine(t)
		var sent strings.Builder
		var end [4]uint64
		m.add("task", func(k *kerneltest.Task) {
			share(k)
			askHost(k, "time", strings.Repeat("x", 3000))
			end = k.WaitFor(driver, answerCame)
		})
		text := string(called(9, "nobody", strings.Repeat("y", size)).bytes()) + string(numbered(1, answerOf("now")).bytes())
		m.Lines[line] = func() { text = m.port.Give(text, 1000) }
		m.port.Give(string(frame{kind: abi.ServiceHello}.bytes()), 1000)
		m.port.AtOnce = func(posted string) {
			if sent.WriteString(posted); posted[1] == abi.ServicePart {
				m.CPU.Raise(line)
				m.CPU.Advance(10_000) // so slowly that a task gets its turn between the parts
			}
		}
		require.True(t, m.Run())
		m.send(text, 1000)
		assert.Equal(t, event(0, 3, 1), end, "%d bytes", size)
		all := frames(t, sent.String())
		assert.Contains(t, all, numbered(9, refusal(abi.NODEVICE, 0)))
	}
}

// TestCallHost: every end of a task's call.
func TestCallHost(t *testing.T) {
	m := newMachine(t)
	got := [][4]uint64{}
	texts := []string{}
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		k.AllowRW(driver, replyBuffer, at(k, replies), 10)
		for i := range 6 {
			r := askHost(k, "time", strings.Repeat("x", i*4000))
			assert.Equal(t, value(r[1]), r)
			e := k.WaitFor(driver, answerCame)
			assert.Equal(t, r[1], e[2])
			got = append(got, [4]uint64{e[0], e[1]})
			texts = append(texts, string(k.Load(at(k, replies), e[1])))
		}
		waits(k)
	})
	require.True(t, m.Run())
	assert.Empty(t, m.port.Take(), "the host has not said Hello")
	all := m.hello()
	number := all[0].number
	assert.Equal(t, []frame{{kind: abi.ServiceCall, number: number, last: 10, name: "time"}}, all, "a call of before")
	assert.Empty(t, m.say(frame{kind: abi.ServiceAnswer, number: number + 1}), "nobody's")
	for i, a := range []frame{{payload: "12:00"}, {status: abi.RESERVE}, {payload: "more than 10"}, {status: 200}, {payload: "0123456789"}, {status: abi.BUSY, payload: "an error has none"}} {
		a.kind, a.number = abi.ServiceAnswer, number
		next := m.say(a)
		assert.Empty(t, m.say(a), "it is answered")
		if i == 5 {
			assert.Empty(t, next)
			break
		}
		f := whole(t, next)
		number = f.number
		assert.Equal(t, "time", f.name)
		assert.Equal(t, strings.Repeat("x", (i+1)*4000), f.payload)
	}
	assert.Equal(t, [][4]uint64{{0, 5}, {uint64(abi.RESERVE)}, {uint64(abi.SIZE)}, {uint64(abi.FAIL)}, {0, 10}, {uint64(abi.FAIL)}}, got)
	assert.Equal(t, []string{"12:00", "", "", "", "0123456789", ""}, texts)
}

// TestNests: a task that waits for the host takes a request, and answers it first; one that works on a request takes no other.
func TestNests(t *testing.T) {
	m := newMachine(t)
	order := []string{}
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		k.Command(driver, serve, 0, 0)
		outer := k.WaitFor(driver, requestCame)
		asked := askHost(k, "host", "")
		inner := k.WaitFor(driver, requestCame)
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, answer, outer[0], 0), "not the latest")
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, refuse, outer[0], 1), "not the latest")
		order = append(order, string(k.Load(at(k, requests), inner[1])))
		reply(k, inner[0], "inner")
		e := k.WaitFor(driver, answerCame)
		assert.Equal(t, event(0, 4, asked[1]), e)
		order = append(order, string(k.Load(at(k, replies), e[1])))
		reply(k, outer[0], "outer")
		third := k.WaitFor(driver, requestCame)
		order = append(order, string(k.Load(at(k, requests), third[1])))
		reply(k, third[0], "third")
		waits(k)
	})
	m.boot()
	asked := whole(t, m.say(called(1, "task", "1")))
	assert.EqualValues(t, abi.ServiceCall, asked.kind)
	assert.Equal(t, []frame{numbered(2, answerOf("inner"))}, m.say(called(2, "task", "2")))
	got := m.say(numbered(asked.number, answerOf("host")), called(3, "task", "3"))
	assert.Equal(t, []frame{numbered(1, answerOf("outer")), numbered(3, answerOf("third"))}, got)
	assert.Equal(t, []string{"2", "host", "3"}, order)
}

// TestAnswerOutOfTurn: the host answers a call while the task works on one that came later: that is dropped.
func TestAnswerOutOfTurn(t *testing.T) {
	m := newMachine(t)
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		k.Command(driver, serve, 0, 0)
		askHost(k, "host", "")
		inner := k.WaitFor(driver, requestCame)
		second := askHost(k, "host", "")
		assert.Equal(t, event(0, 6, second[1]), k.WaitFor(driver, answerCame))
		reply(k, inner[0], "inner")
		waits(k)
	})
	first := m.boot()[0].number
	second := m.say(called(1, "task", ""))[0].number
	assert.Empty(t, m.say(numbered(first, answerOf("too early"))))
	assert.Equal(t, []frame{numbered(1, answerOf("inner"))}, m.say(numbered(second, answerOf("second"))))
}

// TestDepth: so many calls are open at a time, of all together.
func TestDepth(t *testing.T) {
	m := newMachine(t)
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		k.Command(driver, serve, 0, 0)
		for range abi.ServiceDepth / 2 {
			k.WaitFor(driver, requestCame)
			askHost(k, "host", "")
		}
		assert.Equal(t, failed(abi.BUSY), askHost(k, "host", ""))
		waits(k)
	})
	m.add("other", echo)
	m.boot()
	for n := range uint32(abi.ServiceDepth / 2) {
		assert.EqualValues(t, abi.ServiceCall, m.say(called(n, "task", ""))[0].kind)
	}
	assert.Equal(t, refusal(abi.BUSY, 0), m.call("other", "no room"))
	m.hello()
	assert.Equal(t, answerOf("<room>"), m.call("other", "room"))
}

// TestWaitsUntilItServes: a request waits for a task that does not serve yet, until it does or ends. One at a time does.
func TestWaitsUntilItServes(t *testing.T) {
	for _, tt := range []struct {
		name string
		then kerneltest.Program
		want frame
	}{
		{"serves", echo, answerOf("<early>")},
		{"has no room", func(k *kerneltest.Task) {
			k.AllowRW(driver, requestBuffer, at(k, requests), 2)
			k.Command(driver, serve, 0, 0)
			waits(k)
		}, refusal(abi.SIZE, 0)},
		{"ends", func(*kerneltest.Task) {}, refusal(abi.FAIL, abi.ServiceEnded)},
		{"faults", func(k *kerneltest.Task) { k.Load(0, 1) }, refusal(abi.FAIL, abi.ServiceFaulted)},
		{"restarts", func(k *kerneltest.Task) { k.Restart(0) }, refusal(abi.FAIL, abi.ServiceEnded)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			runs := 0
			m.add("slow", func(k *kerneltest.Task) {
				if runs++; runs > 1 {
					waits(k)
				}
				k.AllowRO(driver, nameBuffer, at(k, names), 4)
				k.Store(at(k, names), []byte("wait")...)
				k.Command(driver, ask, 0, 0)
				k.WaitFor(driver, answerCame)
				tt.then(k)
			})
			wait := m.boot()[0].number
			assert.Empty(t, m.say(called(1, "slow", "early")))
			assert.Equal(t, refusal(abi.BUSY, 0), m.call("slow", "a second"))
			assert.Equal(t, []frame{numbered(1, tt.want)}, m.say(numbered(wait, answerOf(""))))
		})
	}
	m := newMachine(t)
	m.add("slow", waits)
	m.boot()
	assert.Equal(t, refusal(abi.BUSY, 0), m.call("slow", strings.Repeat("x", abi.ServiceHeld+1)), "too long to wait")
	assert.Empty(t, m.say(called(1, "slow", strings.Repeat("x", abi.ServiceHeld))))
	m.hello()
	assert.Empty(t, m.say(called(2, "slow", "")), "what waited is forgotten")
}

// TestNames: a name that several have is nobody's.
func TestNames(t *testing.T) {
	m := newMachine(t)
	m.add("twin", echo)
	m.add("twin", echo)
	m.boot()
	assert.Equal(t, refusal(abi.FAIL, 0), m.call("twin", ""))
	assert.Equal(t, refusal(abi.NODEVICE, 0), m.call("twi", ""))
	assert.Equal(t, refusal(abi.NODEVICE, 0), m.call(strings.Repeat("x", abi.ServiceName), ""))
}

// TestEnds: the host is told why a task does not answer, whatever the task was in.
func TestEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		end    kerneltest.Program
		reason uint32
	}{
		"exits":      {func(*kerneltest.Task) {}, abi.ServiceEnded},
		"restarts":   {func(k *kerneltest.Task) { k.Restart(0) }, abi.ServiceEnded},
		"faults":     {func(k *kerneltest.Task) { k.Load(0, 1) }, abi.ServiceFaulted},
		"used up":    {func(k *kerneltest.Task) { k.Command(driver, usedUp, 0, 0) }, abi.ServiceMemory},
		"in parts":   {func(k *kerneltest.Task) { k.Command(driver, answer, k.WaitFor(driver, requestCame)[0], bufferSize) }, abi.ServiceEnded},
		"with calls": {func(k *kerneltest.Task) { askHost(k, "host", strings.Repeat("x", bufferSize)) }, abi.ServiceEnded},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.add("task", func(k *kerneltest.Task) {
				share(k)
				k.Command(driver, serve, 0, 0)
				if name != "in parts" {
					k.WaitFor(driver, requestCame)
				}
				tt.end(k)
			})
			m.add("other", echo)
			m.boot()
			all := m.say(called(1, "task", ""))
			if name == "with calls" {
				assert.EqualValues(t, abi.ServicePart, all[0].kind)
				assert.Len(t, all, 2, "the rest is not sent, and void")
			}
			assert.Equal(t, numbered(1, refusal(abi.FAIL, tt.reason)), all[len(all)-1])
			assert.Equal(t, answerOf("<well>"), m.call("other", "well"))
			assert.Nil(t, m.driver.first)
		})
	}
}

// TestEndsMeanwhile: a task ends while its request comes, and while its answer from the host does: the rest is passed over.
func TestEndsMeanwhile(t *testing.T) {
	m := newMachine(t)
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		k.Command(driver, serve, 0, 0)
		askHost(k, "host", "")
		waits(k)
	})
	m.add("other", echo)
	asked := m.boot()[0].number
	terminate := func() {
		var seen kernel.Task
		m.Kernel.EachTask(m.Capabilities.TaskManagement, &seen, func() {
			if seen.NameIs([]byte("task")) {
				m.Kernel.Restart(seen.ID(), m.Capabilities.TaskManagement)
			}
		})
	}
	b := numbered(asked, answerOf("0123456789")).bytes()
	assert.Empty(t, m.send(string(b[:20]), 100))
	terminate()
	again := frames(t, m.send(string(b[20:]), 100))
	require.Len(t, again, 1)
	assert.Equal(t, "host", again[0].name, "the next run asks anew")
	b = called(1, "task", "0123456789").bytes()
	assert.Empty(t, m.send(string(b[:22]), 100))
	terminate()
	all := frames(t, m.send(string(b[22:]), 100))
	assert.Contains(t, all, numbered(1, refusal(abi.FAIL, abi.ServiceEnded)))
	assert.Equal(t, answerOf("<well>"), m.call("other", "well"))
}

// TestTakesBuffersAway: a task that takes away what is being read harms itself alone.
func TestTakesBuffersAway(t *testing.T) {
	m := newMachine(t)
	var ends [][4]uint64
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		k.Command(driver, serve, 0, 0)
		e := k.WaitFor(driver, requestCame)
		k.Command(driver, answer, e[0], bufferSize)
		k.AllowRO(driver, answerBuffer, 0, 0)
		ends = append(ends, k.WaitFor(driver, answerRead))
		askHost(k, "host", strings.Repeat("x", bufferSize))
		k.AllowRO(driver, askBuffer, 0, 0)
		ends = append(ends, k.WaitFor(driver, answerCame))
		echo(k)
	})
	m.boot()
	all := m.say(called(1, "task", ""))
	assert.EqualValues(t, abi.ServicePart, all[0].kind)
	assert.Equal(t, numbered(1, refusal(abi.SIZE, 0)), all[1])
	require.Len(t, ends, 2)
	assert.Equal(t, []uint64{uint64(abi.SIZE), uint64(abi.INVAL)}, []uint64{ends[0][0], ends[1][0]})
	assert.Equal(t, answerOf("<well>"), m.call("task", "well"), "nothing is left of the parts")
}

// TestHello: the host begins anew: nothing of before is answered, who waits for it is told, and what it does not know yet goes on.
func TestHello(t *testing.T) {
	m := newMachine(t)
	var ends [][4]uint64
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		k.Command(driver, serve, 0, 0)
		e := k.WaitFor(driver, requestCame)
		askHost(k, "host", "")
		ends = append(ends, k.WaitFor(driver, answerCame))
		assert.Equal(t, failed(abi.INVAL), reply(k, e[0], "late"))
		echo(k)
	})
	m.boot()
	asked := m.say(called(1, "task", ""))[0].number
	assert.Empty(t, m.hello())
	assert.Equal(t, uint64(abi.CANCEL), ends[0][0])
	assert.Empty(t, m.say(numbered(asked, answerOf("late"))))
	assert.Equal(t, answerOf("<well>"), m.call("task", "well"))
}

// TestSettle: the answer comes when no task is ready, and not before.
func TestSettle(t *testing.T) {
	m := newMachine(t)
	spun := false
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		k.Command(driver, serve, 0, 0)
		e := k.WaitFor(driver, requestCame)
		k.Spin(100_000)
		spun = true
		reply(k, e[0], "")
		echo(k)
	})
	m.boot()
	assert.Equal(t, []frame{{kind: abi.ServiceSettle}}, m.say(frame{kind: abi.ServiceSettle}))
	all := m.say(called(1, "task", ""), frame{kind: abi.ServiceSettle})
	assert.True(t, spun)
	assert.Equal(t, []frame{numbered(1, answerOf("")), {kind: abi.ServiceSettle}}, all)
}

// TestPortCloses: who waits for the host is told, and the port can be used when it is open again.
func TestPortCloses(t *testing.T) {
	m := newMachine(t)
	var ends [][4]uint64
	m.add("task", func(k *kerneltest.Task) {
		share(k)
		askHost(k, "host", "")
		ends = append(ends, k.WaitFor(driver, answerCame))
		assert.Equal(t, failed(abi.OFF), askHost(k, "host", ""))
		echo(k)
	})
	m.boot()
	half := called(1, "task", "half").bytes()
	m.send(string(half[:18]), 100)
	m.port.Change(abi.OFF)
	require.True(t, m.Continue())
	assert.Equal(t, uint64(abi.CANCEL), ends[0][0])
	m.port.Change(abi.OK)
	assert.Empty(t, m.hello())
	assert.Equal(t, answerOf("<well>"), m.call("task", "well"))
}

// TestNoFrames: what is none ends the conversation, which the kernel says once, until the port is opened anew.
func TestNoFrames(t *testing.T) {
	good := called(1, "echo", "x").bytes()
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for name, b := range map[string][]byte{
		"version 0":                 change(0, 0),
		"version 2":                 change(0, 2),
		"kind 0":                    change(1, 0),
		"part":                      change(1, abi.ServicePart),
		"kind 255":                  change(1, 255),
		"a call without a name":     frame{kind: abi.ServiceCall}.bytes(),
		"a longer name":             change(3, abi.ServiceName+1),
		"an answer with a name":     change(1, abi.ServiceAnswer),
		"Hello with a name":         frame{kind: abi.ServiceHello, name: "x"}.bytes(),
		"Hello with a payload":      frame{kind: abi.ServiceHello, payload: "x"}.bytes(),
		"Settle with a payload":     frame{kind: abi.ServiceSettle, payload: "x"}.bytes(),
		"a payload that is longer":  change(10, 17),
		"a payload of 4 GiB":        change(11, 255),
		"a payload of 1 MiB and 1 ": append(change(10, 16), 0),
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			var ends [][4]uint64
			m.add("echo", echo)
			m.add("asks", func(k *kerneltest.Task) {
				share(k)
				askHost(k, "host", "")
				ends = append(ends, k.WaitFor(driver, answerCame))
				assert.Equal(t, failed(abi.OFF), askHost(k, "host", ""))
				waits(k)
			})
			m.boot()
			for range 3 {
				assert.Empty(t, m.send(string(b), 100))
				assert.Empty(t, m.send(string(good), 100))
			}
			assert.Equal(t, uint64(abi.CANCEL), ends[0][0])
			assert.Equal(t, 1, strings.Count(m.Log.String(), "kapsel: services: "), m.Log.String())
			m.port.Change(abi.OFF)
			m.port.Change(abi.OK)
			m.hello()
			assert.Equal(t, answerOf("<x>"), m.call("echo", "x"))
		})
	}
}

// TestPortTakesNoBuffer: a port that is open and takes no buffer hears nothing, so tasks that wait for the host are told, and no other waits.
func TestPortTakesNoBuffer(t *testing.T) {
	m := newMachine(t)
	var ends [][4]uint64
	m.add("asks", func(k *kerneltest.Task) {
		share(k)
		askHost(k, "host", "")
		ends = append(ends, k.WaitFor(driver, answerCame))
		assert.Equal(t, failed(abi.OFF), askHost(k, "host", ""))
		echo(k)
	})
	m.boot()
	buffer := m.driver.in.buffer
	m.port.AtOnce = func(string) { m.driver.in.buffer = nil } // behind the answer the next buffer is wild
	m.send(string(called(1, "nobody", "").bytes()), 100)
	m.port.AtOnce = nil
	require.Len(t, ends, 1)
	assert.Equal(t, uint64(abi.CANCEL), ends[0][0])
	assert.Equal(t, 1, strings.Count(m.Log.String(), "kapsel: services: the port is open, and takes no buffer"), m.Log.String())
	m.driver.in.buffer = buffer
	m.port.Change(abi.OFF)
	m.port.Change(abi.OK)
	assert.Empty(t, m.hello())
	assert.Equal(t, answerOf("<x>"), m.call("asks", "x"))
}

// TestHostDoesNotRead: while it reads nothing, nothing is read of it either, but as much as waits for an answer; nothing is lost.
func TestHostDoesNotRead(t *testing.T) {
	m := newMachine(t)
	m.add("echo", echo)
	m.boot()
	text := ""
	for n := range uint32(1000) {
		text += string(called(n, "nobody", "").bytes())
	}
	rest := m.port.Give(text, 1000)
	assert.Greater(t, len(rest), len(text)-3000)
	got := frames(t, m.send(rest, 1000))
	require.Len(t, got, 1000)
	for n, f := range got {
		assert.Equal(t, numbered(uint32(n), refusal(abi.NODEVICE, 0)), f)
	}
}

// TestMadeAnew: a driver that is made anew, in whatever it was, says so to the host, and knows of no call.
func TestMadeAnew(t *testing.T) {
	for _, cut := range []int{0, 5, 20, 25} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			m := newMachine(t)
			m.add("task", waits)
			m.boot()
			m.say(called(1, "task", "waits"))
			m.send(string(called(2, "task", "0123456789").bytes()[:cut]), 100)
			var again Service
			again.Init(&kerneltest.New(t, m.Capabilities).Kernel, &m.port, m.memory[:], true, m.Capabilities)
			m.Idle = &again
			assert.Equal(t, []frame{{kind: abi.ServiceHello}}, frames(t, m.send("", 1)))
			assert.Equal(t, []frame{{kind: abi.ServiceHello}}, frames(t, m.send(string(frame{kind: abi.ServiceHello}.bytes()), 100)))
			assert.Nil(t, again.first)
		})
	}
}

// TestZeroValue: the driver is harmless where it was not wired.
func TestZeroValue(t *testing.T) {
	var d Service
	d.Idle()
	d.TaskEnded(kernel.TaskID{})
}

// checkCalls: each call is open or spare, once, and the open ones know those beside them.
func checkCalls(t *testing.T, d *Service) {
	seen := map[*call]bool{}
	var previous *call
	for c := d.first; c != nil && !seen[c]; c = c.next {
		require.Same(t, previous, c.previous)
		require.NotZero(t, c.id)
		seen[c], previous = true, c
	}
	require.Same(t, previous, d.last)
	for c := d.spare; c != nil; c = c.next {
		require.False(t, seen[c], "in two places")
		require.Zero(t, c.id)
		seen[c] = true
	}
	require.Len(t, seen, abi.ServiceDepth)
}

// FuzzHost: whatever the host sends, in pieces, and tasks do meanwhile: what the kernel sends are frames, no call is lost, and
// a host that begins anew is answered.
func FuzzHost(f *testing.F) {
	f.Add([]byte("\x00\x00"), byte(7))
	var b []byte
	for n, name := range []string{"echo", "asks", "echo", "nobody"} {
		b = append(b, called(uint32(n), name, "0123456789").bytes()...)
		b = append(b, frame{kind: abi.ServiceAnswer, number: uint32(n), payload: "answer"}.bytes()...)
	}
	b = append(b, frame{kind: abi.ServiceSettle}.bytes()...)
	f.Add(b, byte(1))
	f.Add(b, byte(200))
	f.Fuzz(func(t *testing.T, b []byte, piece byte) {
		m := newMachine(t)
		m.add("echo", echo)
		m.add("asks", func(k *kerneltest.Task) {
			share(k)
			k.Command(driver, serve, 0, 0)
			for i := range uint64(20) {
				e := k.WaitFor(driver, requestCame)
				askHost(k, "host", strings.Repeat("x", int(e[1]%7000)))
				if e[1]%2 == 0 {
					k.WaitFor(driver, answerCame)
				}
				k.Command(driver, answer+i%2, e[0], e[1]%5000)
			}
		})
		m.boot()
		all := m.send(string(b), int(piece)+1)
		m.port.Change(abi.OFF)
		frames(t, all)
		checkCalls(t, &m.driver)
		m.port.Change(abi.OK)
		m.hello()
		if got := m.call("echo", "well"); got != answerOf("<well>") {
			t.Fatalf("it is answered %v", got)
		}
	})
}
