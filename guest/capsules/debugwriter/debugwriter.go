// Package debugwriter is the kernel's voice: a kernel.Writer that queues text and sends
// it over a serial line while tasks run.
package debugwriter

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/hil"
)

// queueSize is how much text waits at most, in bytes.
const queueSize = 32 << 10

// Tasks' text has room as long as less than an eighth of the queue is in use: the rest is the
// kernel's, whatever tasks write. A loss is reported when half of what its writer may use is
// free again. Dumps have half of the queue. As a task that faulted waits for the message about
// that to be sent, the other half has room for a line about each.
const (
	kernelRoom = queueSize
	tasksRoom  = queueSize / 8
)

// chunkSize is how much is sent at once, in bytes.
const chunkSize = 256

// Writer queues text. What finds no room is lost, with all that its writer writes until the
// loss is reported.
type Writer struct {
	kernel  *kernel.Kernel
	line    hil.Transmitter
	polled  hil.PollingTransmitter // or nil
	send    kernel.DeferredCall
	queue   [queueSize]byte
	head    uint // where in queue the oldest text is
	count   uint // bytes of text in queue
	lost    uint64
	tasks   TaskWriter
	chunk   [chunkSize]byte
	sending uint // bytes at head that are being sent from chunk
	awaited uint // bytes from head that a task waits for
	awake   bool // the text will be sent: a chunk is, or the deferred call is set
}

// TaskWriter is the kernel.Writer of text that tasks have the kernel print. It goes the same
// way as the kernel's own, but leaves room for that.
type TaskWriter struct {
	writer *Writer
	lost   uint64
}

// Init ties the writer to its line, of which it is the only transmit client. Text may be
// written before Init: it waits.
func (w *Writer) Init(k *kernel.Kernel, line hil.Transmitter) {
	w.kernel, w.line = k, line
	w.send.Register(k, w)
	line.SetTransmitClient(w)
	if w.count != 0 {
		w.wake()
	}
}

// Tasks is the writer of tasks' text.
func (w *Writer) Tasks() *TaskWriter {
	w.tasks.writer = w
	return &w.tasks
}

// Poll makes text that finds the queue full, and in the deferred call, be sent by polling that line, until Booted: who serves
// interrupts before that does so for a while, and no task waits.
func (w *Writer) Poll(line hil.PollingTransmitter) {
	w.Drain(line)
	w.polled = line
}

// Booted sends all that waits, so that it comes before tasks' output, and ends Poll.
func (w *Writer) Booted() {
	w.poll(w.polled)
	w.polled = nil
}

// Await implements kernel.Backlog.
func (w *Writer) Await() bool {
	w.awaited = w.count
	return w.count != 0
}

// Crowded implements kernel.Backlog.
func (w *Writer) Crowded() bool { return w.count > kernelRoom/2 }

// WriteString implements kernel.Writer. It returns at once, unless the line is polled.
func (w *Writer) WriteString(s string) {
	if uint(len(s)) > kernelRoom-w.count && w.polled != nil {
		w.poll(w.polled)
	}
	if w.lost == 0 {
		s = w.put(s, kernelRoom)
	}
	w.lost += uint64(len(s))
}

// WriteChars implements kernel.Writer, likewise.
func (w *Writer) WriteChars(chars uint64, n int) {
	if w.lost != 0 || uint(n) > kernelRoom-w.count {
		w.writeSlowly(chars, n)
		return
	}
	for ; n > 0; n-- {
		w.queue[(w.head+w.count)%queueSize] = byte(chars)
		w.count++
		chars >>= 8
	}
	if !w.awake {
		w.wake()
	}
}

// writeSlowly writes as many bytes as there is room for, of which there may be more in between.
func (w *Writer) writeSlowly(chars uint64, n int) {
	for ; n > 0; n-- {
		w.writeChar(byte(chars))
		chars >>= 8
	}
}

func (w *Writer) writeChar(c byte) {
	if w.lost != 0 || w.count == kernelRoom {
		if w.polled == nil {
			w.lost++
			return
		}
		w.poll(w.polled)
	}
	w.queue[(w.head+w.count)%queueSize] = c
	w.count++
	if !w.awake {
		w.wake()
	}
}

// WriteString implements kernel.Writer. It returns at once.
func (t *TaskWriter) WriteString(s string) {
	if t.lost == 0 {
		s = t.writer.put(s, tasksRoom)
	}
	t.lose(uint64(len(s)))
}

// WriteChars implements kernel.Writer. It returns at once.
func (t *TaskWriter) WriteChars(chars uint64, n int) {
	for ; n > 0; n-- {
		if t.lost != 0 || t.writer.count >= tasksRoom {
			t.lose(uint64(n))
			return
		}
		t.writer.writeChar(byte(chars))
		chars >>= 8
	}
}

// lose counts what was lost. A line that was cut ends there, so that the kernel's next begins a
// new one.
func (t *TaskWriter) lose(n uint64) {
	if w := t.writer; n != 0 && t.lost == 0 && w.lost == 0 && w.count < kernelRoom {
		w.writeChar('\n')
	}
	t.lost += n
}

// put queues as much of s as there is room for, and returns the rest.
func (w *Writer) put(s string, room uint) string {
	n := min(uint(len(s)), room-min(w.count, room))
	tail := (w.head + w.count) % queueSize
	if first := uint(copy(w.queue[tail:], s[:n])); first < n {
		copy(w.queue[:], s[first:n])
	}
	w.count += n
	if !w.awake {
		w.wake()
	}
	return s[n:]
}

// wake makes sure that the text will be sent, if there is a line by now.
func (w *Writer) wake() {
	if w.line != nil {
		w.awake = true
		w.send.Set()
	}
}

// HandleDeferredCall sends the next chunk, if none is under way. While the line is polled it sends all.
func (w *Writer) HandleDeferredCall() {
	if w.sending != 0 {
		return
	}
	if w.polled != nil {
		w.poll(w.polled)
	}
	n := w.fillChunk()
	if n != 0 && w.line.Transmit(w.chunk[:], int(n)) == abi.OK {
		w.sending = n
	}
	w.awake = w.sending != 0
}

// Transmitted implements hil.TransmitClient.
func (w *Writer) Transmitted([]byte, int, abi.ErrorCode) {
	if w.awaited != 0 && w.awaited <= w.sending {
		w.kernel.MessagesSent()
	}
	w.drop(w.sending)
	w.sending = 0
	w.reportLosses()
	w.HandleDeferredCall()
}

// Drain sends by polling all that still waits, at the machine's end. Where the line is
// shared, drain that first: it may hold the chunk that is being sent.
func (w *Writer) Drain(line hil.PollingTransmitter) {
	w.poll(line)
	w.reportLosses()
	w.poll(line)
}

// poll sends by polling all that waits.
func (w *Writer) poll(line hil.PollingTransmitter) {
	line.TransmitPolling(nil)
	w.drop(w.sending)
	w.sending = 0
	for w.count != 0 {
		n := w.fillChunk()
		line.TransmitPolling(w.chunk[:n])
		w.drop(n)
	}
}

// fillChunk copies the oldest text to chunk, and returns how many bytes: whole lines, so that
// what others send over the same line does not come within one.
func (w *Writer) fillChunk() uint {
	n := min(w.count, chunkSize)
	first := copy(w.chunk[:n], w.queue[w.head:])
	copy(w.chunk[first:n], w.queue[:])
	for end := n; end > 0; end-- {
		if w.chunk[end-1] == '\n' {
			return end
		}
	}
	return n
}

// drop removes the oldest n bytes.
func (w *Writer) drop(n uint) {
	w.head = (w.head + n) % queueSize
	w.count -= n
	w.awaited -= min(n, w.awaited)
}

// reportLosses says how much was lost, where there is room again.
func (w *Writer) reportLosses() {
	if lost := w.lost; lost != 0 && w.count <= kernelRoom/2 {
		w.lost = 0
		format.Print(w, "\n[%d bytes of the kernel's messages were lost here]\n", lost)
	}
	if lost := w.tasks.lost; lost != 0 && w.count <= tasksRoom/2 {
		w.tasks.lost = 0
		format.Print(w, "[%d bytes of tasks' debug text were lost here]\n", lost)
	}
}
