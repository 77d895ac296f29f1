package device

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// chip is an I/O APIC with what it sent and routed.
type chip struct {
	*IOAPIC
	sent   []MSI
	routes map[int]MSI
}

func newChip() *chip {
	c := &chip{routes: map[int]MSI{}}
	c.IOAPIC = NewIOAPIC(func(m MSI) { c.sent = append(c.sent, m) }, func(pin int, m MSI) { c.routes[pin] = m })
	return c
}

func (c *chip) get(index byte) uint32 {
	c.WriteMMIO(regSelect, []byte{index, 0, 0, 0})
	data := make([]byte, 4)
	c.ReadMMIO(regWindow, data)
	return binary.LittleEndian.Uint32(data)
}

func (c *chip) set(index byte, value uint32) {
	c.WriteMMIO(regSelect, []byte{index, 0, 0, 0})
	c.WriteMMIO(regWindow, binary.LittleEndian.AppendUint32(nil, value))
}

func (c *chip) redirect(pin byte, r redirection) {
	c.set(indexPins+2*pin+1, uint32(r>>32))
	c.set(indexPins+2*pin, uint32(r))
}

func TestIOAPICIdentity(t *testing.T) {
	c := newChip()
	assert.EqualValues(t, 0x0017_0020, c.get(indexVersion), "24 pins, with an EOI register")
	c.set(indexID, 0xffff_ffff)
	assert.EqualValues(t, 0x0f00_0000, c.get(indexID))
	assert.EqualValues(t, 0xffff_ffff, c.get(0x09), "no such register")
	assert.EqualValues(t, 0xffff_ffff, c.get(indexPins+2*Pins), "no such pin")
	c.set(indexPins+2*Pins, 0) // no panic
	for pin := byte(0); pin < Pins; pin++ {
		assert.EqualValues(t, masked, c.get(indexPins+2*pin), "pin %d starts masked", pin)
	}
}

func TestIOAPICEntryBits(t *testing.T) {
	c := newChip()
	c.redirect(3, ^redirection(0)&^masked)
	assert.EqualValues(t, 0xff00_0000, c.get(indexPins+7))
	assert.EqualValues(t, 0x0000_afff, c.get(indexPins+6), "status bits are the chip's")
}

func TestIOAPICEdge(t *testing.T) {
	c := newChip()
	c.SetLine(4, true) // masked: lost
	c.SetLine(4, false)
	c.redirect(4, 0x24|2<<56)
	assert.Empty(t, c.sent)
	c.SetLine(4, true)
	c.SetLine(4, true) // no edge
	assert.Equal(t, []MSI{{0xfee0_2000, 0x24}}, c.sent)
	c.SetLine(4, false)
	c.SetLine(4, true) // no end of interrupt is needed
	assert.Len(t, c.sent, 2)
	assert.Empty(t, c.routes, "only level-triggered pins are routed")
}

// Each edge is sent, also where several goroutines make edges of one pin at once.
func TestIOAPICEdgesOfSeveral(t *testing.T) {
	const each = 20000
	c := newChip()
	c.redirect(5, 0x31)
	var makers sync.WaitGroup
	for range 4 {
		makers.Go(func() {
			for range each {
				c.Edge(5)
			}
		})
	}
	makers.Wait()
	assert.Len(t, c.sent, 4*each)
	c.Edge(Pins)
	c.Edge(-1)
	assert.Len(t, c.sent, 4*each, "no such pins")
}

func TestIOAPICLevel(t *testing.T) {
	c := newChip()
	c.redirect(4, 0x24|levelTriggered)
	message := MSI{0xfee0_0000, 0xc024}
	assert.Equal(t, map[int]MSI{4: message}, c.routes)

	c.SetLine(4, true)
	assert.Equal(t, []MSI{message}, c.sent)
	assert.NotZero(t, c.get(indexPins+8)&uint32(remoteIRR))
	c.SetLine(4, false)
	c.SetLine(4, true)
	assert.Len(t, c.sent, 1, "not before the first has ended")
	c.EndOfInterrupt(0x25)
	assert.Len(t, c.sent, 1, "another vector")
	c.EndOfInterrupt(0x24)
	assert.Len(t, c.sent, 2, "still asserted")
	c.SetLine(4, false)
	c.WriteMMIO(regEOI, []byte{0x24, 0, 0, 0})
	assert.Len(t, c.sent, 2)
	assert.Zero(t, c.get(indexPins+8)&uint32(remoteIRR))
}

func TestIOAPICUnmaskedWhileAsserted(t *testing.T) {
	c := newChip()
	c.SetLine(5, true)
	c.redirect(5, 0x30|levelTriggered)
	assert.Len(t, c.sent, 1)
	c.redirect(5, 0x30|levelTriggered|masked)
	c.EndOfInterrupt(0x30)
	assert.Len(t, c.sent, 1, "masked")
	c.redirect(5, 0x30|levelTriggered)
	assert.Len(t, c.sent, 2)
}

func TestIOAPICBecomingEdgeForgets(t *testing.T) {
	c := newChip()
	c.redirect(5, 0x30|levelTriggered)
	c.SetLine(5, true)
	c.redirect(5, 0x30)
	assert.Zero(t, c.get(indexPins+10)&uint32(remoteIRR))
	c.redirect(5, 0x30|levelTriggered)
	assert.Len(t, c.sent, 2)
}

func TestIOAPICMessage(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry redirection
		want  MSI
	}{
		{"fixed", 0x31, MSI{0xfee0_0000, 0x31}},
		{"destination", 0x31 | 0xab<<56, MSI{0xfeea_b000, 0x31}},
		{"logical, lowest priority", 0x31 | 1<<8 | 1<<11 | 1<<56, MSI{0xfee0_1004, 0x131}},
		{"active low makes no difference", 0x31 | 1<<13, MSI{0xfee0_0000, 0x31}},
		{"level", 0x31 | levelTriggered, MSI{0xfee0_0000, 0xc031}},
	} {
		assert.Equal(t, tt.want, tt.entry.message(), tt.name)
	}
}

func TestIOAPICOtherAccesses(t *testing.T) {
	c := newChip()
	for _, size := range []int{1, 2, 8} {
		data := make([]byte, size)
		c.ReadMMIO(regWindow, data)
		for _, b := range data {
			assert.EqualValues(t, 0xff, b)
		}
		c.WriteMMIO(regWindow, data)
	}
	c.WriteMMIO(0x20, []byte{1, 2, 3, 4})
	c.SetLine(-1, true)
	c.SetLine(Pins, true)
	assert.Empty(t, c.sent)
}

// Whatever a guest writes: an edge-triggered pin never waits for an end of interrupt, and an
// asserted level-triggered pin has always sent its message, unless it is masked.
func TestIOAPICRandomGuest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c := newChip()
	for range 20000 {
		switch random.IntN(4) {
		case 0:
			c.SetLine(random.IntN(Pins), random.IntN(2) == 0)
		case 1:
			c.set(byte(random.Uint32()), random.Uint32())
		case 2:
			c.EndOfInterrupt(uint8(random.Uint32()))
		case 3:
			c.WriteMMIO(random.Uint64N(0x50)&^3, binary.LittleEndian.AppendUint32(nil, random.Uint32()))
		}
		for pin, p := range c.pins {
			if p&levelTriggered == 0 {
				assert.Zero(t, p&remoteIRR, "pin %d", pin)
			} else if p&(masked|remoteIRR) == 0 {
				assert.Zero(t, c.lines>>pin&1, "pin %d", pin)
			}
		}
	}
	assert.NotEmpty(t, c.sent)
}
