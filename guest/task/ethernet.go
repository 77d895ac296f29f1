package task

import "kapsel/guest/abi"

// MaxFrame is the largest frame of a network in bytes, without a check sequence.
const MaxFrame = 1514

// Ethernet is the task's way to the network, which it may share with other tasks: each gets all frames. There is one in a task.
type Ethernet struct {
	streams [2][]byte // frames come into one while those in the other are read
	shared  int       // the one that the driver has
	unread  []byte    // of the other
	out     []byte    // the frame that is sent
	sending bool
	failed  error // why the last frame was not sent
	doubt   bool  // whether the driver is there: it may have failed
	onFrame Upcall
	onSent  Upcall
}

// OpenEthernet opens the network. So many of the largest frames have room between two calls of Next that find none left; what
// comes beyond that is dropped and counted. It takes less than 2 KiB of the heap, and twice 1,526 bytes for each such frame;
// nothing is allocated afterwards, and nothing without a network, of which the error is abi.NODEVICE.
func OpenEthernet(frames int) (*Ethernet, error) {
	if err := AllowReadOnly(abi.DriverEthernetTap, abi.TapFrame, nil); err != nil {
		return nil, err
	}
	e := &Ethernet{out: make([]byte, MaxFrame)}
	for i := range e.streams {
		e.streams[i] = make([]byte, abi.StreamHeaderSize+frames*(abi.TapHeaderSize+MaxFrame))
	}
	e.onFrame.F, e.onSent.F = e.received, e.sent
	for _, err := range [...]error{
		AllowReadOnly(abi.DriverEthernetTap, abi.TapFrame, e.out),
		Subscribe(abi.DriverEthernetTap, abi.TapReceived, &e.onFrame),
		Subscribe(abi.DriverEthernetTap, abi.TapSent, &e.onSent),
		Allow(abi.DriverEthernetTap, abi.TapFrames, e.streams[0]),
	} {
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

// received is called when a frame came, which is seen in the stream, and when the driver failed.
func (e *Ethernet) received(_, _, _ uint32) {
	e.doubt = e.came() == 0
}

// Address returns the device's hardware address.
func (e *Ethernet) Address() (address [6]byte) {
	r := Command(abi.DriverEthernetTap, abi.TapAddress, 0, 0)
	for i := range address {
		address[i] = byte(r.Words[0] >> (8 * i))
	}
	return address
}

// Link returns how many bytes a frame carries at most, behind its header of 14 bytes, and whether the device is connected.
func (e *Ethernet) Link() (mtu int, up bool) {
	r := Command(abi.DriverEthernetTap, abi.TapLink, 0, 0)
	return int(r.Words[0]), r.Words[1] != 0
}

// Counts returns how many frames came, and how many were dropped because there was no room. Both wrap at 2^32.
func (e *Ethernet) Counts() (received, dropped uint32) {
	r := Command(abi.DriverEthernetTap, abi.TapReceiveCounts, 0, 0)
	return uint32(r.Words[0]), uint32(r.Words[2])
}

// Next returns the frame that came first of those that it has not returned yet, or false if there is none. The frame is the caller's, to change
// as well, until the next call. It makes no system call but one for all frames that came since the one before.
func (e *Ethernet) Next() (frame []byte, ok bool) {
	if len(e.unread) == 0 && !e.swap() {
		return nil, false
	}
	end := abi.TapHeaderSize + int(e.unread[abi.TapLength]) + int(e.unread[abi.TapLength+1])<<8
	frame = e.unread[abi.TapHeaderSize:end:end]
	e.unread = e.unread[end:]
	return frame, true
}

// swap begins to read the frames in the stream that the driver has, if there are any, and gives it the other, at once: no frame comes
// between.
func (e *Ethernet) swap() bool {
	if e.came() == 0 {
		return false
	}
	other := 1 - e.shared
	clear(e.streams[other][:abi.StreamHeaderSize])
	if Allow(abi.DriverEthernetTap, abi.TapFrames, e.streams[other]) != nil {
		e.doubt = true
		return false
	}
	n := e.came()
	e.unread = e.streams[e.shared][abi.StreamHeaderSize:][:n]
	e.shared = other
	return true
}

// came is how many bytes are in the stream that the driver has.
func (e *Ethernet) came() int {
	b := e.streams[e.shared][abi.StreamOffset:]
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 | int(b[3])<<24
}

// Send begins to send a frame, and does not wait. The frame is copied before. It returns abi.BUSY while the last one is sent,
// and abi.SIZE unless the frame has 14 bytes at least and the network's MTU behind them at most.
func (e *Ethernet) Send(frame []byte) error {
	switch {
	case e.sending:
		return abi.BUSY
	case len(frame) > len(e.out):
		return abi.SIZE
	}
	n := copy(e.out, frame)
	err := Command(abi.DriverEthernetTap, abi.TapSend, uint32(n), 0).Err()
	e.sending = err == nil
	return err
}

// Sending reports whether a frame is being sent.
func (e *Ethernet) Sending() bool { return e.sending }

// Flush waits until no frame is being sent, and returns why the last one was not, or nil. No upcall runs meanwhile.
func (e *Ethernet) Flush() error {
	if e.sending {
		e.sent(WaitFor(abi.DriverEthernetTap, abi.TapSent))
	}
	return e.failed
}

// sent is called when a frame was sent.
func (e *Ethernet) sent(status, _, _ uint32) {
	e.sending, e.failed = false, nil
	if status != 0 {
		e.failed = failure(abi.Failure, uint64(status))
	}
}

// Wait waits until Next has a frame, the frame that is being sent is sent, or a time has come (Now). Upcalls run meanwhile. It returns why it does
// not wait, which is that a driver is gone: the network's, or the alarm's if no alarm can be set for the time, and not by a second attempt either.
func (e *Ethernet) Wait(until uint64) error {
	sending := e.sending
	for len(e.unread) == 0 && e.check() == nil && e.came() == 0 && e.sending == sending && YieldUntil(until) {
		if alarmAt == until || until == Never {
			continue
		}
		if err := SetAlarm(until); err != nil {
			return err
		}
	}
	return e.check()
}

// check returns why there is no driver, where that is in doubt. It shares what is shared already.
func (e *Ethernet) check() (err error) {
	if e.doubt {
		err = AllowReadOnly(abi.DriverEthernetTap, abi.TapFrame, e.out)
		e.doubt = err != nil
	}
	return err
}
