package fleet

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// converse carries out a command at a terminal, or with pipes. When it has printed the words it is given the input, and then no more.
func converse(t *testing.T, tty bool, words, input string, name string, args ...string) (output string, status int) {
	t.Helper()
	c := exec.Command(name, args...)
	c.WaitDelay = 5 * time.Second
	s := &screen{shown: make(chan struct{}), words: words}
	s.look()
	var to io.WriteCloser
	var errors bytes.Buffer
	if tty {
		user, program := terminal(t)
		defer user.Close()
		c.Stdin, c.Stdout, c.Stderr = program, program, program
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		require.NoError(t, c.Start())
		program.Close()
		to = user
		read := make(chan struct{})
		go func() {
			defer close(read)
			io.Copy(s, user) // until the last that has the terminal closes it
		}()
		defer func() { <-read; output = s.String() }()
	} else {
		in, err := c.StdinPipe()
		require.NoError(t, err)
		to = in
		c.Stdout, c.Stderr = s, &errors
		require.NoError(t, c.Start())
	}
	kill := time.AfterFunc(patience, func() { c.Process.Kill() })
	defer kill.Stop()
	ended := make(chan struct{})
	go func() {
		select {
		case <-s.shown:
			io.WriteString(to, input)
			if !tty {
				to.Close()
			}
		case <-ended:
		}
	}()
	err := c.Wait()
	close(ended)
	require.NotEqual(t, -1, c.ProcessState.ExitCode(), "%s %s: %v\n%s%s", name, strings.Join(args, " "), err, s, &errors)
	t.Logf("standard error of %s: %s", name, &errors)
	return s.String(), c.ProcessState.ExitCode()
}

// terminal makes a pseudo terminal and returns its two ends.
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return user, program
}

// A screen keeps what is written to it, and tells when the words are there.
type screen struct {
	lock  sync.Mutex
	text  bytes.Buffer
	words string
	once  sync.Once
	shown chan struct{}
}

func (s *screen) Write(b []byte) (int, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.text.Write(b)
	s.look()
	return len(b), nil
}

// look tells if the words are there; none always are.
func (s *screen) look() {
	if strings.Contains(s.text.String(), s.words) {
		s.once.Do(func() { close(s.shown) })
	}
}

func (s *screen) String() string {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.text.String()
}
