package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kapsel/vmm/watchdog"
)

// A monitor is our end of QEMU's control socket. The protocol (QMP, docs/interop/qmp-spec
// in QEMU's sources) is JSON objects: a greeting, then an answer to each command, with
// events in between.
type monitor struct {
	conn    net.Conn
	decoder *json.Decoder
	started bool // the machine: QEMU has said so

	mu  sync.Mutex
	end time.Time // of all patience; zero: there is enough
}

func newMonitor(conn net.Conn) *monitor {
	return &monitor{conn: conn, decoder: json.NewDecoder(conn)}
}

// A quietConn raises no SIGPIPE where QEMU has just ended, as a plain write does (send(2),
// MSG_NOSIGNAL): the command would take that for the end of its own reader.
type quietConn struct{ *net.UnixConn }

// newSocket makes a local socket: our end, and QEMU's.
func newSocket(name string) (ours quietConn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ours, nil, fmt.Errorf("socket for QEMU's %s: %w", name, err)
	}
	theirs = os.NewFile(uintptr(pair[1]), name)
	f := os.NewFile(uintptr(pair[0]), name)
	defer f.Close() // FileConn has a descriptor of its own
	conn, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return ours, nil, fmt.Errorf("socket for QEMU's %s: %w", name, err)
	}
	return quietConn{conn.(*net.UnixConn)}, theirs, nil // as it is of AF_UNIX
}

// Write writes all of p, or says why not.
func (c quietConn) Write(p []byte) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	for n < len(p) && err == nil {
		var sent int
		var failed error
		err = raw.Write(func(fd uintptr) bool {
			sent, failed = unix.SendmsgN(int(fd), p[n:], nil, nil, unix.MSG_NOSIGNAL)
			return failed != unix.EAGAIN && failed != unix.EINTR
		})
		n, err = n+max(sent, 0), errors.Join(err, failed)
	}
	return n, err
}

func (m *monitor) close() { m.conn.Close() }

// hurry makes every exchange end at a time, one that is under way too.
func (m *monitor) hurry(end time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end = end
	m.conn.SetDeadline(end)
}

// allow gives the exchange that follows its time.
func (m *monitor) allow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	deadline := time.Now().Add(answerTime)
	if !m.end.IsZero() && m.end.Before(deadline) {
		deadline = m.end
	}
	m.conn.SetDeadline(deadline)
}

// A message is anything that QEMU sends.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Event    string          `json:"event"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Description string `json:"desc"`
	} `json:"error"`
}

// start waits until QEMU is ready and starts the machine. A guest that ends at once may take QEMU's answer with
// it, but not the event in front of that.
func (m *monitor) start() error {
	m.allow()
	var greeting message
	if err := m.decoder.Decode(&greeting); err != nil {
		return fmt.Errorf("no greeting from its monitor: %w", err)
	}
	if greeting.Greeting == nil {
		return errors.New("its monitor did not greet")
	}
	if _, err := m.command("qmp_capabilities", nil); err != nil {
		return err
	}
	if _, err := m.command("cont", nil); err != nil && !m.started {
		return err
	}
	m.started = true
	return nil
}

// registers stops the machine and returns its registers as text.
func (m *monitor) registers() (string, error) {
	if _, err := m.command("stop", nil); err != nil {
		return "", err
	}
	return m.human("info registers")
}

// human gives a command of the monitor that people use, and returns its text.
func (m *monitor) human(command string) (string, error) {
	answer, err := m.command("human-monitor-command", map[string]string{"command-line": command})
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(answer, &text); err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")) + "\n", nil
}

// word reads 8 bytes at a physical address: "0000000000234568: 0x0000000000000007".
func (m *monitor) word(physical uint64) (uint64, error) {
	text, err := m.human(fmt.Sprintf("xp /1gx %#x", physical))
	if err != nil {
		return 0, err
	}
	_, value, _ := strings.Cut(text, ": ")
	word, err := strconv.ParseUint(strings.TrimSpace(value), 0, 64)
	if err != nil {
		return 0, fmt.Errorf("memory at %#x: want an address and a word, found %.60q", physical, text)
	}
	return word, nil
}

// posture asks where the processor is, by "CPL=0" and "HLT=0" among its registers, and for
// its instruction pointer: "EIP=00200007", or "RIP=" in 64-bit mode.
func (m *monitor) posture() (p watchdog.Posture, ip uint64, err error) {
	text, err := m.human("info registers")
	if err != nil {
		return watchdog.Unknown, 0, err
	}
	_, after, _ := strings.Cut(text, "IP=")
	digits, _, _ := strings.Cut(after, " ")
	ip, err = strconv.ParseUint(digits, 16, 64)
	switch words := strings.Fields(text); {
	case err != nil || !slices.Contains(words, "HLT=0") && !slices.Contains(words, "HLT=1"):
		return watchdog.Unknown, 0, fmt.Errorf("registers: want EIP or RIP, and HLT=0 or HLT=1, found %.200q", text)
	case slices.Contains(words, "CPL=0") && slices.Contains(words, "HLT=0"):
		return watchdog.Kernel, ip, nil
	}
	return watchdog.Away, ip, nil
}

// command gives one command and waits for its answer, passing over events.
func (m *monitor) command(name string, arguments any) (json.RawMessage, error) {
	m.allow()
	request := map[string]any{"execute": name}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return nil, fmt.Errorf("command %s: %w", name, err)
	}
	for {
		var answer message
		switch err := m.decoder.Decode(&answer); {
		case err != nil:
			return nil, fmt.Errorf("command %s: %w", name, err)
		case answer.Error != nil:
			return nil, fmt.Errorf("command %s: %s", name, answer.Error.Description)
		case answer.Return != nil:
			return answer.Return, nil
		case answer.Event == "RESUME":
			m.started = true
		}
	}
}
