package oci

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ptmx is where terminals come from (pts(4)).
const ptmx = "/dev/ptmx"

// A console is a container's terminal: the end for whoever is at it, and the container's.
type console struct{ master, slave *os.File }

// checkConsole checks whether the socket for the terminal is given just if there is a terminal, and how large that is to be.
func checkConsole(p *specs.Process, socket string) error {
	terminal := p != nil && p.Terminal
	switch {
	case terminal && socket == "":
		return errors.New("process.terminal is true: want --console-socket PATH, where the terminal is sent, or false, for the streams of the caller")
	case !terminal && socket != "":
		return errors.New("--console-socket: process.terminal is not true: there is no terminal to send: want it true, or no socket")
	case terminal && p.ConsoleSize != nil && max(p.ConsoleSize.Height, p.ConsoleSize.Width) > math.MaxUint16:
		return fmt.Errorf("process.consoleSize: want at most %d rows and columns, found %d and %d", math.MaxUint16, p.ConsoleSize.Height, p.ConsoleSize.Width)
	}
	return nil
}

// openConsole makes a terminal of a size, unless that is nil, which belongs to a user of the host's.
func openConsole(size *specs.Box, uid int) (c *console, err error) {
	master, err := os.OpenFile(ptmx, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	c = &console{master: master}
	defer func() {
		if err != nil {
			c.close()
			err = fmt.Errorf("terminal: %w", err)
		}
	}()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock: %w", err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("the other end: %w", errno)
	}
	c.slave = os.NewFile(fd, "terminal")
	if size != nil {
		if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(size.Height), Col: uint16(size.Width)}); err != nil {
			return nil, fmt.Errorf("size: %w", err)
		}
	}
	if err := c.slave.Chown(uid, -1); err != nil {
		return nil, err
	}
	return c, nil
}

// send sends the terminal's end for people through a socket, and closes both here.
func (c *console) send(socket string) error {
	defer c.close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("--console-socket: %w: want a socket that somebody listens on", err)
	}
	defer conn.Close()
	if _, _, err := conn.WriteMsgUnix([]byte(ptmx), unix.UnixRights(int(c.master.Fd())), nil); err != nil {
		return fmt.Errorf("--console-socket %q: %w", socket, err)
	}
	return nil
}

func (c *console) close() {
	c.master.Close()
	if c.slave != nil {
		c.slave.Close()
	}
}
