package control

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
)

// guest is a fake kernel at the server's other side: it answers as answer says, and notes what it was asked.
type guest struct {
	asked  chan frame
	answer func(f frame) []frame
}

// serve makes a server with a guest that answers each request with success, but as answer says.
func serve(t *testing.T, answer func(f frame) []frame) (*Server, *guest, string) {
	return servePatiently(t, answer, patience)
}

func servePatiently(t *testing.T, answer func(f frame) []frame, patience time.Duration) (*Server, *guest, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control")
	s, err := listen(t.Context(), path, t.Logf, patience)
	require.NoError(t, err)
	g := &guest{asked: make(chan frame, 10_000), answer: answer}
	go func() {
		for {
			f, err := readFrame(s)
			if err != nil {
				return
			}
			g.asked <- f
			answers := []frame{{f.kind | abi.LoadAnswer, []byte{0}}}
			if answer != nil {
				if given := answer(f); given != nil {
					answers = given
				}
			}
			for _, a := range answers {
				for b := a.append(nil); len(b) > 0; b = b[1:] { // in pieces
					if _, err := s.Write(b[:1]); err != nil {
						return
					}
				}
			}
		}
	}()
	t.Cleanup(func() { s.Close() })
	return s, g, path
}

func connect(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Connect(t.Context(), path)
	require.NoError(t, err)
	return c
}

// TestSocketIsTheUsersAlone, and is gone with the server.
func TestSocketIsTheUsersAlone(t *testing.T) {
	s, _, path := serve(t, nil)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = Listen(t.Context(), path, t.Logf)
	assert.Error(t, err, "there is one already")
	require.NoError(t, s.Close())
	_, err = os.Stat(path)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestLoad: the object goes to the kernel in pieces, in order.
func TestLoad(t *testing.T) {
	_, g, path := serve(t, func(f frame) []frame {
		if f.kind == abi.LoadLoad {
			return []frame{{abi.LoadLoad | abi.LoadAnswer, []byte{0, 7, 1, 0, 0}}}
		}
		return nil
	})
	object := bytes.Repeat([]byte("0123456789abcde"), 300)
	c := connect(t, path)
	pid, err := c.Load(object)
	require.NoError(t, err)
	assert.EqualValues(t, 0x107, pid)
	require.NoError(t, c.Unload("some task"))
	require.NoError(t, c.Close())
	assert.Equal(t, frame{abi.LoadSetUp, binary.LittleEndian.AppendUint32(nil, uint32(len(object)))}, <-g.asked)
	var got []byte
	f := <-g.asked
	for ; f.kind == abi.LoadWrite; f = <-g.asked {
		assert.EqualValues(t, len(got), binary.LittleEndian.Uint32(f.payload))
		got = append(got, f.payload[4:]...)
	}
	assert.Equal(t, object, got)
	assert.Equal(t, frame{abi.LoadLoad, []byte{}}, f)
	assert.Equal(t, frame{abi.LoadUnload, []byte("some task")}, <-g.asked)
	assert.Equal(t, frame{abi.LoadHello, []byte{}}, <-g.asked, "what a client leaves is given up")
}

// TestErrors: what the kernel says is told in words, and the error is known.
func TestErrors(t *testing.T) {
	var fails atomic.Pointer[frame]
	_, _, path := serve(t, func(f frame) []frame {
		if failing := fails.Load(); f.kind|abi.LoadAnswer == failing.kind {
			return []frame{*failing}
		}
		return nil
	})
	for _, tt := range []struct {
		on     byte
		status abi.ErrorCode
		said   string
	}{
		{abi.LoadSetUp, abi.NOMEM, "the machine has no memory for it"},
		{abi.LoadWrite, abi.INVAL, "its header does not tell its length"},
		{abi.LoadLoad, abi.FAIL, "the kernel refuses it: the machine's console says why"},
		{abi.LoadLoad, abi.NOMEM, "the machine has not enough memory for the task"},
		{abi.LoadLoad, abi.OK, "no frame"}, // without a PID
		{abi.LoadUnload, abi.NODEVICE, "there is no task of that name, nor with that PID"},
		{abi.LoadUnload, abi.FAIL, "several tasks have that name"},
		{abi.LoadTasks, abi.FAIL, "FAIL"},
	} {
		fails.Store(&frame{tt.on | abi.LoadAnswer, []byte{byte(tt.status)}})
		c := connect(t, path)
		var err error
		switch tt.on {
		case abi.LoadUnload:
			err = c.Unload("x")
		case abi.LoadTasks:
			_, err = c.Tasks()
		default:
			_, err = c.Load(make([]byte, 100))
		}
		assert.ErrorContains(t, err, tt.said)
		if tt.status != abi.OK {
			assert.ErrorIs(t, err, tt.status)
		}
		c.Close()
	}
	assert.ErrorContains(t, connect(t, path).Unload(strings.Repeat("x", abi.LoadPayload+1)), "want at most 1024")
}

// TestTasks: rows become tasks; one that is none is an error.
func TestTasks(t *testing.T) {
	row := append([]byte{0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 5}, "name"...)
	var rows atomic.Pointer[[][]byte]
	_, _, path := serve(t, func(f frame) (answers []frame) {
		if f.kind != abi.LoadTasks {
			return nil
		}
		for _, r := range *rows.Load() {
			answers = append(answers, frame{abi.LoadTasks | abi.LoadAnswer, r})
		}
		return answers
	})
	rows.Store(&[][]byte{row, {0}})
	c := connect(t, path)
	tasks, err := c.Tasks()
	require.NoError(t, err)
	assert.Equal(t, []Task{{1, 2, 3, "Terminated", "name"}}, tasks)
	rows.Store(&[][]byte{row[:13], {0}})
	_, err = c.Tasks()
	assert.ErrorIs(t, err, errFrame)
	c.Close()
	wrong := bytes.Clone(row)
	wrong[13] = abi.LoadPaused + 1
	rows.Store(&[][]byte{wrong, {0}})
	_, err = connect(t, path).Tasks()
	assert.ErrorIs(t, err, errFrame, "no such state")
}

// TestClientsThatAreNone: who sends what is no frame is not served, and the next one is.
func TestClientsThatAreNone(t *testing.T) {
	_, g, path := serve(t, nil)
	for _, b := range []string{"GET / HTTP/1.1\r\n\r\n", "\x01\x02", string((frame{kind: 9}).append(nil)[:7]) + "x",
		string((frame{kind: abi.LoadKinds + 1}).append(nil)), string((frame{kind: abi.LoadHello | abi.LoadAnswer}).append(nil))} {
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		conn.Write([]byte(b))
		conn.(*net.UnixConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		assert.Empty(t, answer)
		conn.Close()
		assert.Equal(t, byte(abi.LoadHello), (<-g.asked).kind)
	}
	assert.NoError(t, connect(t, path).Unload("x"))
}

// TestKernelThatIsNone: where the kernel answers what was not asked the socket is given up, and so are clients.
func TestKernelThatIsNone(t *testing.T) {
	for name, answer := range map[string][]frame{
		"another answer": {{abi.LoadTasks | abi.LoadAnswer, []byte{0}}},
		"no status":      {{abi.LoadUnload | abi.LoadAnswer, nil}},
		"a refusal":      {{abi.LoadAnswer, []byte{byte(abi.INVAL)}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, path := serve(t, func(frame) []frame { return answer })
			c := connect(t, path)
			assert.ErrorContains(t, c.Unload("x"), "the machine has ended, or its kernel takes no tasks from its host")
			c.Close()
		})
	}
}

// TestKernelThatTalks: what the kernel sends and nobody asked for, or behind an answer, ends the socket, and holds nobody who writes.
func TestKernelThatTalks(t *testing.T) {
	for name, text := range map[string]string{
		"garbage": strings.Repeat("x", 100),
		"answers": strings.Repeat(string(frame{abi.LoadHello | abi.LoadAnswer, []byte{0}}.append(nil)), 3),
	} {
		t.Run(name, func(t *testing.T) {
			s, _, path := serve(t, nil)
			require.NoError(t, connect(t, path).Unload("x"))
			for err := error(nil); err == nil; { // as often as it takes: none waits
				_, err = io.WriteString(s, text)
			}
			_, err := net.Dial("unix", path)
			assert.Error(t, err)
			_, err = io.ReadAll(s)
			assert.NoError(t, err, "the machine's input is at its end")
		})
	}
}

// TestKernelThatBeginsAnew: the kernel's driver that was made anew within a request, or between two, costs that request, and not the socket.
func TestKernelThatBeginsAnew(t *testing.T) {
	var fails atomic.Bool
	_, _, path := serve(t, func(f frame) []frame {
		switch {
		case f.kind == abi.LoadHello:
			return []frame{anew}
		case fails.Load():
			return []frame{{abi.LoadTasks | abi.LoadAnswer, make([]byte, 1+abi.LoadRow)}, anew}[min(1, int(f.kind^abi.LoadTasks)):]
		}
		return []frame{{f.kind | abi.LoadAnswer, []byte{0}}, anew}
	})
	for range 3 {
		c := connect(t, path)
		fails.Store(true)
		assert.ErrorIs(t, c.Unload("x"), errAnew)
		_, err := c.Tasks()
		assert.ErrorIs(t, err, errAnew)
		fails.Store(false)
		assert.NoError(t, c.Unload("x"))
		require.NoError(t, c.Close())
	}
}

// TestClientsThatWait: one that asks nothing, or half of a frame, or does not take its answers, is let go, and the next is served.
func TestClientsThatWait(t *testing.T) {
	_, _, path := servePatiently(t, nil, 200*time.Millisecond)
	question := frame{abi.LoadUnload, []byte("x")}.append(nil)
	for _, send := range [][]byte{nil, question[:5], bytes.Repeat(question, 100_000)} {
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer conn.Close()
		go conn.Write(send)
		assert.NoError(t, connect(t, path).Unload("x"))
	}
}

// TestKernelThatIsSilent: a client does not wait for ever.
func TestKernelThatIsSilent(t *testing.T) {
	block := make(chan struct{})
	_, _, path := serve(t, func(frame) []frame { <-block; return nil })
	defer close(block)
	c := connect(t, path)
	c.patience = 50 * time.Millisecond
	assert.ErrorContains(t, c.Unload("x"), "the machine does not answer")
}

// TestCloseEndsClients: a client that waits is told.
func TestCloseEndsClients(t *testing.T) {
	block := make(chan struct{})
	s, g, path := serve(t, func(frame) []frame { <-block; return nil })
	defer close(block)
	c := connect(t, path)
	go func() {
		<-g.asked
		s.Close()
	}()
	assert.Error(t, c.Unload("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Connect(ctx, path)
	assert.Error(t, err)
}

// FuzzReadFrame: what is read is what was written, or refused.
func FuzzReadFrame(f *testing.F) {
	f.Add((frame{abi.LoadHello, nil}).append(nil))
	f.Add((frame{abi.LoadWrite, make([]byte, abi.LoadPayload)}).append(nil))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bytes.NewReader(b))
		if err == nil {
			assert.Equal(t, b[:abi.LoadHeader+len(got.payload)], got.append(nil))
		}
	})
}

// TestTasksAreLookedAfter: each request reaches the kernel, and what it says is told in words.
func TestTasksAreLookedAfter(t *testing.T) {
	var status atomic.Uint32
	_, g, path := serve(t, func(f frame) []frame {
		if status.Load() == 0 && f.kind == abi.LoadRestore {
			return []frame{{f.kind | abi.LoadAnswer, []byte{0, 9, 0, 0, 0}}}
		}
		if f.kind == abi.LoadSave && status.Load() == 0 {
			return []frame{{f.kind | abi.LoadAnswer, []byte("\x00one ")}, {f.kind | abi.LoadAnswer, []byte("\x00two")}, {f.kind | abi.LoadAnswer, []byte{0}}}
		}
		if f.kind >= abi.LoadPause {
			return []frame{{f.kind | abi.LoadAnswer, []byte{byte(status.Load())}}}
		}
		return nil
	})
	c := connect(t, path)
	restore := func(name string) error { _, err := c.Restore(name, []byte("state")); return err }
	save := func(name string) error { _, err := c.Save(name); return err }
	for _, tt := range []struct {
		kind byte
		ask  func(name string) error
		said map[abi.ErrorCode]string
	}{
		{abi.LoadPause, c.Pause, map[abi.ErrorCode]string{abi.ALREADY: "it is paused already", abi.INVAL: "it has ended"}},
		{abi.LoadResume, c.Resume, map[abi.ErrorCode]string{abi.ALREADY: "it is not paused"}},
		{abi.LoadKill, c.Kill, map[abi.ErrorCode]string{abi.FAIL: "several tasks have that name", abi.NODEVICE: "there is no task of that name"}},
		{abi.LoadSave, save, map[abi.ErrorCode]string{abi.CANCEL: "it has ended, or was started anew, meanwhile", abi.NOMEM: "has not enough memory"}},
		{abi.LoadRestore, restore, map[abi.ErrorCode]string{abi.INVAL: "the kernel refuses its state: the machine's console says why", abi.NOSUPPORT: "older"}},
	} {
		status.Store(0)
		assert.NoError(t, tt.ask("some task"))
		f := <-g.asked
		for f.kind == abi.LoadSetUp || f.kind == abi.LoadWrite {
			f = <-g.asked
		}
		assert.Equal(t, frame{tt.kind, []byte("some task")}, f)
		for e, said := range tt.said {
			status.Store(uint32(e))
			err := tt.ask("x")
			assert.ErrorIs(t, err, e)
			assert.ErrorContains(t, err, said)
			for f := range g.asked {
				if f.kind == tt.kind {
					break
				}
			}
		}
		assert.ErrorContains(t, tt.ask(strings.Repeat("x", abi.LoadPayload+1)), "want at most 1024")
	}
	status.Store(0)
	state, err := c.Save("x")
	assert.NoError(t, err)
	assert.Equal(t, "one two", string(state))
	pid, err := c.Restore("x", state)
	assert.NoError(t, err)
	assert.EqualValues(t, 9, pid)
}
