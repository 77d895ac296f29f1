package virtio

import (
	"fmt"
	"strings"

	"kapsel/guest/abi/virtio"
)

// String returns the counters in words.
func (c Counters) String() string {
	return fmt.Sprintf("%d requests, %d bytes read, %d written, %d errors, broken %d times; %d notifications, %d interrupts",
		c.Requests, c.Read, c.Written, c.Errors, c.Broken, c.Notifications, c.Interrupts)
}

// String returns the device's state in words: how far its driver is, each queue that it set up, and the counters.
func (m *MMIO) String() string {
	m.access.Lock()
	defer m.access.Unlock()
	var text strings.Builder
	fmt.Fprintf(&text, "status %#x (%s), features %#x, interrupt status %#x", m.status(), statusInWords(m.status()),
		m.driver.accepted, m.interrupts.Load())
	for i := range m.driver.queues {
		if q := &m.driver.queues[i]; q.ready && !m.closed {
			available, used := m.indices(q)
			fmt.Fprintf(&text, "; queue %d of %d, available index %d, used index %d", i, q.size, available, used)
		}
	}
	fmt.Fprintf(&text, "; %v", m.Counters())
	return text.String()
}

// indices reads a queue's indices as its driver sees them. The queue was checked.
func (m *MMIO) indices(q *queueRegisters) (available, used uint16) {
	parts := q.parts()
	availableRing, _ := m.memory.At(parts[1].address, parts[1].size)
	usedRing, _ := m.memory.At(parts[2].address, parts[2].size)
	return load16(availableRing, virtio.RingIndex), load16(usedRing, virtio.RingIndex)
}

// statusInWords names the bits of Status.
func statusInWords(status uint32) string {
	var words []string
	for _, b := range []struct {
		bit  uint32
		name string
	}{
		{virtio.StatusAcknowledge, "acknowledged"}, {virtio.StatusDriver, "driver"}, {virtio.StatusFeaturesOK, "features ok"},
		{virtio.StatusDriverOK, "driver ok"}, {virtio.StatusNeedsReset, "needs reset"}, {virtio.StatusFailed, "failed"},
	} {
		if status&b.bit != 0 {
			words = append(words, b.name)
		}
	}
	if words == nil {
		return "as after reset"
	}
	return strings.Join(words, ", ")
}
