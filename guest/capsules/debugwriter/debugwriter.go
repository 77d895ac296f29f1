// Package debugwriter is the kernel's voice: a kernel.Writer that queues text and sends
// it over a serial line while tasks run.
package debugwriter

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/hil"
)

// queueSize is how much text waits at most, in bytes: a few fault dumps.
const queueSize = 16 << 10

// chunkSize is how much is sent at once, in bytes.
const chunkSize = 256

// Writer queues text. What finds the queue full is lost, and the loss is reported once
// there is room.
type Writer struct {
	line    hil.Transmitter
	send    kernel.DeferredCall
	queue   [queueSize]byte
	head    uint   // where in queue the oldest text is
	count   uint   // bytes of text in queue
	lost    uint64 // bytes
	chunk   [chunkSize]byte
	sending uint // bytes at head that are being sent from chunk
	awake   bool // the text will be sent: a chunk is, or the deferred call is set
}

// Init ties the writer to its line, of which it is the only transmit client. Text may be
// written before Init: it waits.
func (w *Writer) Init(k *kernel.Kernel, line hil.Transmitter) {
	w.line = line
	w.send.Register(k, w)
	line.SetTransmitClient(w)
	if w.count != 0 {
		w.wake()
	}
}

// WriteString implements kernel.Writer. It returns at once.
func (w *Writer) WriteString(s string) {
	n := min(uint(len(s)), queueSize-w.count)
	tail := (w.head + w.count) % queueSize
	first := copy(w.queue[tail:], s[:n])
	copy(w.queue[:], s[first:n])
	w.count += n
	w.lost += uint64(len(s)) - uint64(n)
	if !w.awake {
		w.wake()
	}
}

// WriteChar implements kernel.Writer. It returns at once.
func (w *Writer) WriteChar(c byte) {
	if w.count == queueSize {
		w.lost++
		return
	}
	w.queue[(w.head+w.count)%queueSize] = c
	w.count++
	if !w.awake {
		w.wake()
	}
}

// wake makes sure that the text will be sent, if there is a line by now.
func (w *Writer) wake() {
	if w.line != nil {
		w.awake = true
		w.send.Set()
	}
}

// HandleDeferredCall sends the next chunk, if none is under way.
func (w *Writer) HandleDeferredCall() {
	if w.sending != 0 {
		return
	}
	n := w.fillChunk()
	if n != 0 && w.line.Transmit(w.chunk[:], int(n)) == abi.OK {
		w.sending = n
	}
	w.awake = w.sending != 0
}

// Transmitted implements hil.TransmitClient.
func (w *Writer) Transmitted([]byte, int, abi.ErrorCode) {
	w.drop(w.sending)
	w.sending = 0
	w.reportLoss()
	w.HandleDeferredCall()
}

// Drain sends by polling all that still waits, at the machine's end. Where the line is
// shared, drain that first: it may hold the chunk that is being sent.
func (w *Writer) Drain(line hil.PollingTransmitter) {
	line.TransmitPolling(nil)
	w.drop(w.sending)
	w.sending = 0
	for w.count != 0 {
		n := w.fillChunk()
		line.TransmitPolling(w.chunk[:n])
		w.drop(n)
		w.reportLoss()
	}
}

// fillChunk copies the oldest text to chunk, and returns how many bytes.
func (w *Writer) fillChunk() uint {
	n := min(w.count, chunkSize)
	first := copy(w.chunk[:n], w.queue[w.head:])
	copy(w.chunk[first:n], w.queue[:])
	return n
}

// drop removes the oldest n bytes.
func (w *Writer) drop(n uint) {
	w.head = (w.head + n) % queueSize
	w.count -= n
}

// reportLoss says how much was lost, as soon as all before it is sent.
func (w *Writer) reportLoss() {
	if w.lost == 0 || w.count != 0 {
		return
	}
	lost := w.lost
	w.lost = 0
	format.Print(w, "\n[%d bytes of kernel messages were lost here]\n", lost)
}
