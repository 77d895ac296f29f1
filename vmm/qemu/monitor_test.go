package qemu

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const greeting = `{"QMP": {"version": {}, "capabilities": []}}`

// fakeQEMU is a monitor whose QEMU sends the greeting and then, to each command, the next
// of the answers. Commands lists the names of the commands once the monitor is done.
func fakeQEMU(greeting string, answers ...string) (m *monitor, commands func() []string) {
	ours, theirs := net.Pipe()
	var names []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		if greeting != "" { // an empty Write would wait for a Read
			theirs.Write([]byte(greeting))
		}
		in := bufio.NewScanner(theirs)
		for _, answer := range answers {
			if !in.Scan() {
				return
			}
			var request struct{ Execute string }
			json.Unmarshal(in.Bytes(), &request)
			names = append(names, request.Execute)
			theirs.Write([]byte(answer))
		}
	}()
	m = newMonitor(ours)
	return m, func() []string { m.close(); <-done; return names }
}

// A QEMU that has ended is an error, and no signal: SIGPIPE would end the command.
func TestMonitorOfAQEMUThatIsGone(t *testing.T) {
	conn, theirs, err := newSocket("monitor")
	require.NoError(t, err)
	m := newMonitor(conn)
	defer m.close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGPIPE)
	defer signal.Stop(signals)

	var answered sync.WaitGroup
	answered.Go(func() { theirs.WriteString(`{"return": {}}`) })
	_, err = m.command("cont", nil)
	require.NoError(t, err)
	answered.Wait() // a file that is still written to is closed later
	buffer := make([]byte, 100)
	n, err := theirs.Read(buffer)
	require.NoError(t, err)
	assert.Equal(t, `{"execute":"cont"}`+"\n", string(buffer[:n]))

	require.NoError(t, theirs.Close())
	_, err = m.command("stop", nil)
	assert.ErrorIs(t, err, unix.EPIPE)
	select {
	case s := <-signals:
		assert.Fail(t, "a signal", "%v", s)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestMonitorStart(t *testing.T) {
	m, commands := fakeQEMU(greeting, `{"return": {}}`, `{"event": "RESUME"} {"return": {}}`)
	require.NoError(t, m.start())
	assert.Equal(t, []string{"qmp_capabilities", "cont"}, commands())
}

// TestMonitorStartOfAGuestThatEnds: before QEMU has answered, as one of a few instructions does.
func TestMonitorStartOfAGuestThatEnds(t *testing.T) {
	m, commands := fakeQEMU(greeting, `{"return": {}}`, `{"event": "RESUME"}`)
	require.NoError(t, m.start())
	assert.True(t, m.started)
	assert.Equal(t, []string{"qmp_capabilities", "cont"}, commands())
}

func TestMonitorRegisters(t *testing.T) {
	m, commands := fakeQEMU("", `{"event": "STOP"} {"return": {}}`, `{"return": "\r\nEAX=1\r\nEIP=2\r\n"}`)
	text, err := m.registers()
	require.NoError(t, err)
	assert.Equal(t, "EAX=1\nEIP=2\n", text)
	assert.Equal(t, []string{"stop", "human-monitor-command"}, commands())
}

func TestMonitorErrors(t *testing.T) {
	for _, test := range []struct {
		name, greeting string
		answers        []string
		want           string
	}{
		{"closed before the greeting", "", nil, "no greeting"},
		{"not QEMU", `{"hello": 1}`, nil, "did not greet"},
		{"no JSON", "hello\n", nil, "no greeting"},
		{"an error", greeting, []string{`{"error": {"class": "X", "desc": "not now"}}`}, "command qmp_capabilities: not now"},
		{"closed before the answer", greeting, []string{`{"return": {}}`, ``}, "command cont: EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, commands := fakeQEMU(test.greeting, test.answers...)
			assert.ErrorContains(t, m.start(), test.want)
			commands()
		})
	}
}
