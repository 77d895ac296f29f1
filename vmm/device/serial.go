package device

import (
	"io"
	"sync"
)

// Serial is a 16550A UART (Texas Instruments PC16550D datasheet) whose transmitter is
// instantaneous while its output has room, and whose line is a byte stream. The guest's
// ports, Feed and Take may be used at once by different goroutines.
//
// OUT2 does not gate the interrupt line, as in QEMU's model.
type Serial struct {
	out io.Writer // nil: output is kept for Take
	irq func(level bool)

	mu       sync.Mutex
	space    sync.Cond // there is room in queue, or the end has come
	queue    []byte    // received by the host side, not yet in the FIFO
	sent     sync.Cond // there is output, or the end has come
	room     sync.Cond // there is room in output, or the end has come
	taken    sync.Cond // all output was taken and is written, or the end has come
	output   []byte    // sent by the guest, not yet taken
	writing  bool      // what was taken last is being written
	short    bool      // Offer had no room for all, and other is to be woken when there is
	other    func()    // wakes the device that has the input in the UART's place; nil: the UART has it
	held     bool      // the guest is owed the transmitter-empty interrupt when there is room
	polled   bool      // the guest's last access found the transmitter not empty
	finished bool      // the guest sends no more
	paused   bool      // the interrupt line stays as it is, and so does the FIFO
	closed   bool
	fifo     [fifoSize]byte
	fifoLen  int
	fifoOn   bool
	trigger  int  // received bytes that raise the interrupt
	thre     bool // the transmitter-empty interrupt is pending
	overrun  bool
	ier      byte
	lcr      byte
	mcr      byte
	scratch  byte
	divisor  [2]byte
	asserted bool // the interrupt line's level
}

const (
	fifoSize   = 16
	queueSize  = 4096
	outputSize = 64 << 10
)

// Register offsets (PC16550D, table II). With lcrDLAB set, the first two are the divisor.
const (
	regData         = 0 // RBR, THR
	regIntEnable    = 1 // IER
	regIntID        = 2 // IIR reads, FCR writes
	regLineControl  = 3 // LCR
	regModemControl = 4 // MCR
	regLineStatus   = 5 // LSR
	regModemStatus  = 6 // MSR
	regScratch      = 7 // SCR
	registers       = 8
)

// Register bits.
const (
	ierReceived     = 1 << 0
	ierTransmitted  = 1 << 1
	ierLineStatus   = 1 << 2
	ierImplemented  = 0x0f
	fcrEnable       = 1 << 0
	fcrClearReceive = 1 << 1
	lcrDLAB         = 1 << 7
	mcrLoop         = 1 << 4
	mcrImplemented  = 0x1f
	lsrDataReady    = 1 << 0
	lsrOverrun      = 1 << 1
	lsrTransmitted  = 1<<5 | 1<<6 // holding and shift register empty

	iirNone        = 0x01
	iirTransmitted = 0x02
	iirReceived    = 0x04
	iirLineStatus  = 0x06
	iirTimeout     = 0x0c
	iirFIFO        = 0xc0

	msrCTS = 1 << 4
	msrDSR = 1 << 5
	msrRI  = 1 << 6
	msrDCD = 1 << 7
)

// NewSerial returns a UART that drives its interrupt line by irq, which is called whenever
// the level changes. What the guest sends goes to out at once, on the guest's goroutine, or
// is kept for Take if out is nil. Neither irq nor out may call the UART.
func NewSerial(out io.Writer, irq func(level bool)) *Serial {
	s := &Serial{out: out, irq: irq, trigger: 1}
	for _, c := range []*sync.Cond{&s.space, &s.sent, &s.room, &s.taken} {
		c.L = &s.mu
	}
	return s
}

// Feed gives p to the receiver, waiting for the guest to read when its queue is full. It
// returns io.ErrClosedPipe after Close.
func (s *Serial) Feed(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 && !s.closed {
		n := min(len(p), queueSize-len(s.queue))
		if n <= 0 { // less after Divert, which adds what was in the FIFO
			s.space.Wait()
			continue
		}
		s.queue = append(s.queue, p[:n]...)
		p = p[n:]
		s.receive()
		s.update()
		s.wake()
	}
	if s.closed {
		return io.ErrClosedPipe
	}
	return nil
}

// Take waits until the guest has sent something and returns all of that, to be written out
// before the next call. The buffer of the call before is used again. It reports false at the
// end: after Close, and after Finish when all was taken.
func (s *Serial) Take(used []byte) (sent []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	for len(s.output) == 0 && !s.finished {
		s.taken.Broadcast()
		s.sent.Wait()
	}
	if len(s.output) == 0 || s.closed {
		s.taken.Broadcast()
		return nil, false
	}
	sent, s.output, s.writing = s.output, used[:0], true
	s.room.Broadcast()
	s.wakeShort()
	if s.held && !s.paused {
		s.transmitted()
	}
	return sent, true
}

// Finish says that the guest sends no more, or that what it sends is not wanted: it waits
// for room no longer.
func (s *Serial) Finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	s.sent.Broadcast()
	s.room.Broadcast()
	s.wakeShort()
}

// Drain waits until all that the guest has sent was taken and written, or until Close. It
// reports whether all was.
func (s *Serial) Drain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for (len(s.output) > 0 || s.writing) && !s.closed {
		s.taken.Wait()
	}
	return len(s.output) == 0 && !s.writing
}

// Close ends every Feed, Take and Drain, now and later. The guest's side goes on.
func (s *Serial) Close() {
	s.Finish()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.space.Broadcast()
	s.taken.Broadcast()
}

// ReadPort reads registers. An access of several bytes reads as many registers, and those
// that do not exist as all ones.
func (s *Serial) ReadPort(port uint16, size int, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range data {
		data[i] = s.read(register(port, size, i))
	}
	s.update()
}

// WritePort writes registers. Bytes to the transmitter in one access are sent at once. If
// there is no room for them, the guest did not look at the line status, and waits here.
func (s *Serial) WritePort(port uint16, size int, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polled = false
	if size == 1 && port%registers == regData && s.sends() {
		s.send(data)
		return
	}
	for i, b := range data {
		s.write(register(port, size, i), b)
	}
	s.update()
}

// register returns the register that byte i of an access to port means.
func register(port uint16, size, i int) int { return int(port%registers) + i%size }

// sends reports whether a byte written to the data register goes out.
func (s *Serial) sends() bool { return s.lcr&lcrDLAB == 0 && s.mcr&mcrLoop == 0 }

// send gives p to the output.
func (s *Serial) send(p []byte) {
	if s.out != nil {
		s.out.Write(p) // whoever made the UART knows whether its Writer fails
		p = nil
	}
	for len(p) > 0 && !s.finished {
		n := min(len(p), outputSize-len(s.output))
		if n == 0 {
			s.room.Wait()
			continue
		}
		s.output = append(s.output, p[:n]...)
		p = p[n:]
		s.sent.Signal()
	}
	s.transmitted()
}

// full reports whether the transmitter is not empty: the output has no room for as much as
// a guest may send after one look at the line status.
func (s *Serial) full() bool {
	return len(s.output) > outputSize-fifoSize && !s.finished && s.mcr&mcrLoop == 0
}

// transmitted raises the transmitter-empty interrupt anew: an edge, as each byte makes one.
// While the transmitter is full it is kept back, until Take.
func (s *Serial) transmitted() {
	if s.thre && s.ier&ierTransmitted != 0 {
		s.lower()
	}
	s.thre, s.held = !s.full(), s.full()
	s.update()
}

func (s *Serial) read(reg int) byte {
	if reg != regLineStatus {
		s.polled = false
	}
	switch reg {
	case regData:
		if s.lcr&lcrDLAB != 0 {
			return s.divisor[0]
		}
		return s.readData()
	case regIntEnable:
		if s.lcr&lcrDLAB != 0 {
			return s.divisor[1]
		}
		return s.ier
	case regIntID:
		return s.readIntID()
	case regLineControl:
		return s.lcr
	case regModemControl:
		return s.mcr
	case regLineStatus:
		return s.readLineStatus()
	case regModemStatus:
		return s.modemStatus()
	case regScratch:
		return s.scratch
	}
	return 0xff
}

func (s *Serial) readData() byte {
	if s.fifoLen == 0 {
		return 0
	}
	b := s.fifo[0]
	copy(s.fifo[:], s.fifo[1:s.fifoLen])
	s.fifoLen--
	if s.fifoLen < s.trigger {
		s.lower()
	}
	s.receive()
	return b
}

// lower drops the interrupt line until the next update. On a real line the next byte, or the
// FIFO's timeout, takes its time: a guest that reads a byte for each edge relies on it.
func (s *Serial) lower() {
	if s.asserted {
		s.asserted = false
		s.irq(false)
	}
}

// readIntID tells the most urgent interrupt. Reading a transmitter interrupt clears it.
func (s *Serial) readIntID() byte {
	id := s.pending()
	if id == iirTransmitted {
		s.thre = false
	}
	if s.fifoOn {
		id |= iirFIFO
	}
	return id
}

// readLineStatus tells that the transmitter is not empty once. A guest that asks again at
// once polls, as a kernel's last words do: it waits here for room, and not in a loop of exits
// that it may give up.
func (s *Serial) readLineStatus() byte {
	for s.polled && s.full() {
		s.room.Wait()
	}
	s.polled = s.full()
	var status byte
	s.held = s.held || s.polled
	if !s.polled {
		status = lsrTransmitted
	}
	if s.fifoLen > 0 {
		status |= lsrDataReady
	}
	if s.overrun {
		status |= lsrOverrun
		s.overrun = false
	}
	return status
}

// modemStatus shows a connected peer, or the outputs in loopback (PC16550D, section 8.7).
// The lines never change by themselves, so the delta bits are 0.
func (s *Serial) modemStatus() byte {
	if s.mcr&mcrLoop == 0 {
		return msrCTS | msrDSR | msrDCD
	}
	const dtr, rts, out1, out2 = 1 << 0, 1 << 1, 1 << 2, 1 << 3
	var status byte
	for _, wire := range [...]struct{ from, to byte }{{rts, msrCTS}, {dtr, msrDSR}, {out1, msrRI}, {out2, msrDCD}} {
		if s.mcr&wire.from != 0 {
			status |= wire.to
		}
	}
	return status
}

func (s *Serial) write(reg int, b byte) {
	switch reg {
	case regData:
		s.writeData(b)
	case regIntEnable:
		s.writeIntEnable(b)
	case regIntID:
		s.writeFIFOControl(b)
	case regLineControl:
		s.lcr = b
	case regModemControl:
		s.mcr = b & mcrImplemented
		s.receive()
	case regScratch:
		s.scratch = b
	}
}

func (s *Serial) writeData(b byte) {
	switch {
	case s.lcr&lcrDLAB != 0:
		s.divisor[0] = b
	case s.mcr&mcrLoop != 0:
		if s.fifoLen == s.capacity() {
			s.overrun = true
		} else {
			s.push(b)
		}
		s.transmitted()
	default: // one byte of a wider access
		s.send([]byte{b})
	}
}

// writeIntEnable raises the transmitter interrupt when it is enabled and the transmitter is
// empty.
func (s *Serial) writeIntEnable(b byte) {
	if s.lcr&lcrDLAB != 0 {
		s.divisor[1] = b
		return
	}
	if b&^s.ier&ierTransmitted != 0 {
		s.thre, s.held = s.thre || !s.full(), s.held || s.full()
	}
	s.ier = b & ierImplemented
}

// writeFIFOControl turns the FIFOs on or off, which empties them, or empties the receiver's.
func (s *Serial) writeFIFOControl(b byte) {
	on := b&fcrEnable != 0
	if on != s.fifoOn || on && b&fcrClearReceive != 0 {
		s.fifoLen = 0
	}
	s.fifoOn = on
	s.trigger = 1
	if on {
		s.trigger = [...]int{1, 4, 8, 14}[b>>6]
	}
	s.receive()
}

func (s *Serial) capacity() int {
	if s.fifoOn {
		return fifoSize
	}
	return 1
}

func (s *Serial) push(b byte) {
	s.fifo[s.fifoLen] = b
	s.fifoLen++
}

// receive moves bytes from the queue into the FIFO while it has room: the line never
// overruns. In loopback the line is disconnected, and it may have been diverted.
func (s *Serial) receive() {
	if s.mcr&mcrLoop != 0 || s.other != nil || s.paused {
		return
	}
	n := 0
	for n < len(s.queue) && s.fifoLen < s.capacity() {
		s.push(s.queue[n])
		n++
	}
	if n > 0 {
		s.queue = s.queue[:copy(s.queue, s.queue[n:])]
		s.space.Broadcast()
	}
}

// pending returns the most urgent enabled interrupt (PC16550D, table IV). Bytes below the
// trigger level count as timed out at once: the line is idle as soon as they are there.
func (s *Serial) pending() byte {
	switch {
	case s.overrun && s.ier&ierLineStatus != 0:
		return iirLineStatus
	case s.fifoLen >= s.trigger && s.ier&ierReceived != 0:
		return iirReceived
	case s.fifoLen > 0 && s.ier&ierReceived != 0:
		return iirTimeout
	case s.thre && s.ier&ierTransmitted != 0:
		return iirTransmitted
	}
	return iirNone
}

// update drives the interrupt line.
func (s *Serial) update() {
	level := s.pending() != iirNone
	if level != s.asserted && !s.paused {
		s.asserted = level
		s.irq(level)
	}
}
