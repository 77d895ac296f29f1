package oci

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestTerminal: what a container prints comes by the terminal that --console-socket was sent, which is the container's controlling terminal and its user's, in whatever user namespace.
func TestTerminal(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spaces func(t *testing.T) []specs.LinuxNamespace
		owner  int
	}{
		{"in the runtime's user namespace", func(*testing.T) []specs.LinuxNamespace { return nil }, 0},
		{"in a user namespace that is joined", func(t *testing.T) []specs.LinuxNamespace {
			return []specs.LinuxNamespace{{Type: specs.UserNamespace, Path: "/proc/" + text(sleep(t, syscall.CLONE_NEWUSER)) + "/ns/user"}}
		}, users[0].HostID},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			b := r.sleeper().only(tt.spaces(t)...)
			b.spec.Process.Terminal = true
			place := filepath.Join(r.dir, "console")
			terminal := receive(t, place)
			c := r.create(b, "--console-socket", place)
			f := <-terminal
			require.NotNil(t, f, "no terminal came")
			defer f.Close()
			c.succeeds("start", c.id)
			readUntil(t, f, asleep)
			_, stat, _ := strings.Cut(read(t, "/proc/"+text(c.pid)+"/stat"), ") ")
			fields := strings.Fields(stat) // proc_pid_stat(5), from the state on
			assert.Equal(t, text(c.pid), fields[3], "the session")
			assert.NotEqual(t, "0", fields[4], "the controlling terminal")
			var info unix.Stat_t
			require.NoError(t, unix.Stat("/proc/"+text(c.pid)+"/fd/0", &info))
			assert.Equal(t, tt.owner, int(info.Uid))
			c.stop()
			c.succeeds("delete", c.id)
		})
	}
}

// receive listens at a socket for the file that is sent there; the channel is closed without one if it does not come.
func receive(t *testing.T, place string) <-chan *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: place, Net: "unix"})
	require.NoError(t, err)
	require.NoError(t, l.SetDeadline(time.Now().Add(patience)))
	files := make(chan *os.File, 1)
	go func() {
		defer close(files)
		defer l.Close()
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		name, rights := make([]byte, 256), make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := conn.ReadMsgUnix(name, rights)
		if err != nil {
			return
		}
		messages, err := unix.ParseSocketControlMessage(rights[:n])
		if err != nil || len(messages) != 1 {
			return
		}
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && unix.SetNonblock(fds[0], true) == nil {
			files <- os.NewFile(uintptr(fds[0]), "terminal")
		}
	}()
	return files
}

// readUntil reads a terminal until it has had the text.
func readUntil(t *testing.T, f *os.File, text string) {
	t.Helper()
	require.NoError(t, f.SetReadDeadline(time.Now().Add(patience)))
	var all bytes.Buffer
	for chunk := make([]byte, 512); !bytes.Contains(all.Bytes(), []byte(text)); {
		n, err := f.Read(chunk)
		all.Write(chunk[:n])
		require.NoError(t, err, "the terminal had %q, and not %q", all.String(), text)
	}
}
