package device

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const cmosPort = 0x70

// A cmosGuest reads and writes the registers of a clock whose host's time it has in its hand.
type cmosGuest struct {
	clock *CMOS
	host  time.Time
}

func newCMOSGuest(host time.Time) *cmosGuest {
	g := &cmosGuest{host: host}
	g.clock = NewCMOS(func() time.Time { return g.host })
	return g
}

func (g *cmosGuest) read(register byte) byte {
	g.clock.WritePort(cmosPort, 1, []byte{register})
	data := []byte{0xaa}
	g.clock.ReadPort(cmosPort+1, 1, data)
	return data[0]
}

func (g *cmosGuest) write(register, v byte) {
	g.clock.WritePort(cmosPort, 1, []byte{register})
	g.clock.WritePort(cmosPort+1, 1, []byte{v})
}

// time is seconds, minutes, hours, day of the week, day, month, year, century.
func (g *cmosGuest) time() (all [8]byte) {
	for i, r := range cmosTime {
		all[i] = g.read(r)
	}
	return all
}

// set writes the same while the clock stands still.
func (g *cmosGuest) set(all [8]byte) {
	control := g.read(cmosControlB)
	g.write(cmosControlB, control|cmosSet)
	for i, r := range cmosTime {
		g.write(r, all[i])
	}
	g.write(cmosControlB, control)
}

var cmosTime = [8]byte{cmosSeconds, cmosMinutes, cmosHours, cmosWeekday, cmosDay, cmosMonth, cmosYear, cmosCentury}

var aNight = time.Date(2026, 11, 29, 23, 59, 58, 0, time.UTC) // a Sunday

// TestCMOSForms: the host's time in each form, and the same when the guest sets it.
func TestCMOSForms(t *testing.T) {
	for _, tt := range []struct {
		name    string
		control byte
		want    [8]byte
	}{
		{"BCD, 24 hours", cmos24Hours, [...]byte{0x58, 0x59, 0x23, 1, 0x29, 0x11, 0x26, 0x20}},
		{"binary, 24 hours", cmos24Hours | cmosBinary, [...]byte{58, 59, 23, 1, 29, 11, 26, 20}},
		{"BCD, 12 hours", 0, [...]byte{0x58, 0x59, 0x91, 1, 0x29, 0x11, 0x26, 0x20}},
		{"binary, 12 hours", cmosBinary, [...]byte{58, 59, 0x80 | 11, 1, 29, 11, 26, 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newCMOSGuest(aNight.In(time.FixedZone("elsewhere", 3600)))
			assert.EqualValues(t, cmos24Hours, g.read(cmosControlB), "as firmware leaves it")
			g.write(cmosControlB, tt.control)
			assert.Equal(t, tt.want, g.time())
			g.host = aNight.AddDate(-10, 0, 0)
			g.set(tt.want)
			assert.Equal(t, tt.want, g.time())
			assert.Equal(t, time.Duration(g.clock.ahead)*time.Second, aNight.Sub(g.host))
			g.host = g.host.Add(2 * time.Second)
			assert.Equal(t, [...]byte{30, 11}, [...]byte{byte(g.clock.decode(g.read(cmosDay))), byte(g.clock.decode(g.read(cmosMonth)))})
		})
	}
}

func TestCMOSHours12(t *testing.T) {
	for hour, want := range map[int]byte{0: 12, 1: 1, 11: 11, 12: 0x80 | 12, 13: 0x80 | 1, 23: 0x80 | 11} {
		g := newCMOSGuest(time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC))
		g.write(cmosControlB, cmosBinary)
		assert.Equal(t, want, g.read(cmosHours), hour)
		g.set(g.time())
		assert.Zero(t, g.clock.ahead)
	}
}

// TestCMOSStandsStill while SET is there, and can be written without.
func TestCMOSStandsStill(t *testing.T) {
	g := newCMOSGuest(aNight)
	g.write(cmosControlB, cmos24Hours|cmosSet)
	g.host = g.host.Add(time.Hour)
	assert.EqualValues(t, 0x23, g.read(cmosHours))
	g.write(cmosHours, 0x05)
	assert.EqualValues(t, 0x05, g.read(cmosHours))
	assert.Zero(t, g.clock.ahead)
	g.write(cmosControlB, cmos24Hours)
	assert.Equal(t, [...]byte{0x58, 0x59, 0x05, 1, 0x29, 0x11, 0x26, 0x20}, g.time())
	g.write(cmosMinutes, 0)
	assert.Equal(t, [...]byte{0x58, 0x00, 0x05, 1, 0x29, 0x11, 0x26, 0x20}, g.time())
}

// TestCMOSUpdates: A warns of the end of each second, but not while the clock stands still.
func TestCMOSUpdates(t *testing.T) {
	g := newCMOSGuest(aNight)
	assert.EqualValues(t, 0x26, g.read(cmosControlA))
	g.host = aNight.Add(time.Second - cmosWarning)
	assert.EqualValues(t, 0xa6, g.read(cmosControlA))
	g.write(cmosControlB, cmosSet)
	assert.EqualValues(t, 0x26, g.read(cmosControlA))
}

func TestCMOSRegisters(t *testing.T) {
	g := newCMOSGuest(aNight)
	for _, r := range []byte{cmosControlA, cmosFlags, cmosValid} {
		before := g.read(r)
		g.write(r, 0xff)
		assert.Equal(t, before, g.read(r), "register %#x is the device's", r)
	}
	assert.EqualValues(t, 0x80, g.read(cmosValid))
	g.write(0x80|0x7f, 7) // the NMI mask is no part of the index
	assert.EqualValues(t, 7, g.read(0x7f))
	g.write(1, 0x59) // the alarm's seconds
	assert.EqualValues(t, 0x59, g.read(1))
}

// TestCMOSWidths: other accesses than of 8 bits, and reads of the index, are nothing; strings arrive whole.
func TestCMOSWidths(t *testing.T) {
	g := newCMOSGuest(aNight)
	g.write(0x40, 9)
	g.clock.WritePort(cmosPort, 2, []byte{0x41, 9})
	g.clock.WritePort(cmosPort, 1, nil)
	wide := []byte{0, 0}
	g.clock.ReadPort(cmosPort, 2, wide)
	assert.Equal(t, []byte{0xff, 0xff}, wide)
	g.clock.ReadPort(cmosPort, 1, wide[:1])
	assert.EqualValues(t, 0xff, wide[0])
	g.clock.ReadPort(cmosPort+1, 1, wide)
	assert.Equal(t, []byte{9, 9}, wide)
	g.clock.WritePort(cmosPort, 1, []byte{1, 0x41})
	g.clock.WritePort(cmosPort+1, 1, []byte{3, 4})
	assert.EqualValues(t, 4, g.read(0x41))
}

// FuzzCMOS: whatever a guest writes, the clock tells a time, and each register has what it may have.
func FuzzCMOS(f *testing.F) {
	f.Add([]byte{cmosControlB, 0xff, cmosCentury, 0xff, cmosYear, 0xff, cmosMonth, 0xff, cmosControlB, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		g := newCMOSGuest(aNight)
		for ; len(script) >= 2; script = script[2:] {
			g.write(script[0], script[1])
			g.read(script[0])
		}
		g.write(cmosControlB, cmos24Hours|cmosBinary)
		all := g.time()
		for i, most := range [8]byte{59, 59, 23, 7, 31, 12, 99, 99} {
			require.LessOrEqual(t, all[i], most, "register %#x", cmosTime[i])
		}
	})
}
