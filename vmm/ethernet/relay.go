package ethernet

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SocketPair returns a backend and the file of its peer, for a process to inherit: each datagram there is a frame. QEMU takes
// it as -netdev dgram,id=ID,local.type=fd,local.str=NUMBER (7.2 and later). Who has started the process closes the file.
func SocketPair() (Backend, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return &frameFile{os.NewFile(uintptr(fds[0]), "network socket")}, os.NewFile(uintptr(fds[1]), "network socket of the peer"), nil
}

// Relay stands at a Port in place of a device's model, and carries frames between the Port's network and the device behind another
// backend, until the Port is closed or that backend ends. Then it closes both. It starts the Port.
func Relay(p *Port, device Backend) error {
	ready, ended, closed := make(chan struct{}, 1), make(chan struct{}), make(chan error, 1)
	p.Start(func() {
		select {
		case ready <- struct{}{}:
		default:
		}
	})
	go func() {
		defer close(ended)
		buffer := make([]byte, 1<<16)
		for {
			n, err := device.ReadFrame(buffer)
			if err != nil {
				return
			}
			p.Send(buffer[:n]) // which counts what it drops
		}
	}()
	go func() {
		select {
		case <-p.ended:
		case <-ended:
		}
		closed <- device.Close() // a device that takes no frames holds deliver until then
	}()
	deliver(p, device, ready, ended)
	err := errors.Join(<-closed, p.Close())
	<-ended
	return err
}

// deliver takes a Port's frames to a device until either has ended. What the device cannot take is lost.
func deliver(p *Port, device Backend, ready, ended <-chan struct{}) {
	var frame [MaxFrame]byte
	for {
		for n := p.Receive(&frame); n > 0; n = p.Receive(&frame) {
			device.WriteFrame(frame[:n])
		}
		select {
		case <-ready:
		case <-p.ended:
			return
		case <-ended:
			return
		}
	}
}
