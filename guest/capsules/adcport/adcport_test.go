package adcport

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/kerneltest"
)

type sampled struct {
	sample uint16
	e      abi.ErrorCode
}

type rig struct {
	ADC
	port  kerneltest.Port
	timer kerneltest.Timer
	got   []sampled
}

func (r *rig) Sampled(v uint16, e abi.ErrorCode) { r.got = append(r.got, sampled{v, e}) }

func newRig() *rig {
	r := &rig{}
	r.Init(&r.port, &r.timer)
	r.SetADCClient(r)
	return r
}

func TestSamples(t *testing.T) {
	r := newRig()
	assert.False(t, r.Settled())
	assert.Equal(t, abi.NODEVICE, r.Sample(0))
	assert.Zero(t, r.Channels())
	assert.Equal(t, "\n", r.port.Take())
	assert.Empty(t, r.port.Give("3 10 2500\n", 4))
	assert.True(t, r.Settled())
	assert.Equal(t, []uint32{3, 10, 2500}, []uint32{r.Channels(), r.ResolutionBits(), r.ReferenceMillivolts()})
	assert.Equal(t, abi.INVAL, r.Sample(3))
	for channel, want := range map[uint32]uint16{0: 0, 1: 1 << 6, 2: 1023 << 6} {
		assert.Equal(t, abi.OK, r.Sample(channel))
		assert.Equal(t, abi.BUSY, r.Sample(channel))
		assert.Equal(t, string('0'+rune(channel))+"\n", r.port.Take())
		r.got = nil
		r.port.Give([]string{"0\n", "1\n", "1023\n"}[channel], 1)
		assert.Equal(t, []sampled{{want, abi.OK}}, r.got)
	}
	r.timer.Pass(60_000)
	assert.EqualValues(t, 3, r.Channels(), "no answer is awaited")
}

// TestSixteenBits: the largest resolution.
func TestSixteenBits(t *testing.T) {
	r := newRig()
	r.port.Take()
	r.port.Give("1 16 0\n", 64)
	r.Sample(0)
	r.port.Take()
	r.port.Give("65535\n", 64)
	assert.Equal(t, []sampled{{65535, abi.OK}}, r.got)
	assert.Zero(t, r.ReferenceMillivolts())
}

// TestAnswersOfNoMeaning end the converter's use, and the sample that is awaited.
func TestAnswersOfNoMeaning(t *testing.T) {
	for _, answer := range []string{"\n", "x\n", "1 12 3300\n7\n", "0 12 3300\n", "1 0 3300\n", "1 17 3300\n", "1 12\n", "1 12 3300 1\n", "1 12 4294967296\n",
		"1 12 3300\n\n", "00000000000000000000000000000000000000000000000000"} {
		r := newRig()
		r.port.Take()
		r.port.Give(answer, 40)
		assert.True(t, r.Settled(), "%q", answer)
		assert.Zero(t, r.Channels(), "%q", answer)
		assert.Equal(t, abi.NODEVICE, r.Sample(0), "%q", answer)
	}
	for _, answer := range []string{"\n", "-1\n", "4096\n", "1 2\n"} {
		r := newRig()
		r.port.Take()
		r.port.Give("1 12 3300\n", 40)
		r.Sample(0)
		r.port.Take()
		r.port.Give(answer, 40)
		assert.Equal(t, []sampled{{0, abi.FAIL}}, r.got, "%q", answer)
		assert.Equal(t, abi.NODEVICE, r.Sample(0), "%q", answer)
	}
}

// TestMoreThanAnAnswer ends the converter's use, behind the answer.
func TestMoreThanAnAnswer(t *testing.T) {
	r := newRig()
	r.port.Take()
	r.port.Give("1 12 3300\n", 40)
	r.Sample(0)
	r.port.Take()
	r.port.Give("1\n2\n", 40)
	assert.Equal(t, []sampled{{1 << 4, abi.OK}}, r.got)
	assert.Zero(t, r.Channels())
}

// TestNoAnswer for 10 seconds ends the converter's use; one that comes later is not asked for.
func TestNoAnswer(t *testing.T) {
	r := newRig()
	r.port.Take()
	r.port.Give("1 12 3300\n", 40)
	r.Sample(0)
	r.port.Take()
	r.timer.Pass(9_999)
	assert.Empty(t, r.got)
	r.AlarmFired()
	assert.Empty(t, r.got, "an alarm that is early")
	r.timer.Pass(1)
	assert.Equal(t, []sampled{{0, abi.FAIL}}, r.got)
	r.port.Give("7\n", 40)
	assert.Len(t, r.got, 1)
	assert.Zero(t, r.Channels())
}

// TestPortCloses and opens again: the converter is asked anew.
func TestPortCloses(t *testing.T) {
	r := newRig()
	r.port.Take()
	r.port.Give("1 12 3300\n", 40)
	r.Sample(0)
	r.port.Change(abi.OFF)
	assert.Equal(t, []sampled{{0, abi.FAIL}}, r.got)
	assert.Zero(t, r.Channels())
	r.port.Change(abi.OK)
	assert.Equal(t, "\n", r.port.Take())
	r.port.Give("2 12 3300\n", 40)
	assert.EqualValues(t, 2, r.Channels())
}

// TestMadeAnew while a sample is awaited: its answer is passed over, and what is not taken yet is waited for.
func TestMadeAnew(t *testing.T) {
	r := newRig()
	r.port.Take()
	r.port.Give("1 12 3300\n", 40)
	r.Sample(0)
	r.ADC = ADC{}
	r.PortChanged()
	r.AlarmFired()
	r.Init(&r.port, &r.timer)
	r.SetADCClient(r)
	assert.Equal(t, abi.NODEVICE, r.Sample(0))
	assert.NotEmpty(t, r.port.Take(), "of before")
	assert.Equal(t, "\n", r.port.Take())
	assert.Empty(t, r.port.Give("77\n1 12 3300\n", 40))
	assert.EqualValues(t, 1, r.Channels())
	assert.Empty(t, r.got)
	assert.Equal(t, abi.OK, r.Sample(0))
}

// FuzzAnswers: whatever comes, a sample has one end at the most and is within its bits.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("1 12 3300\n7\n8\n"), 3)
	f.Add([]byte("1 1 0\n1\n2\n"), 1)
	f.Fuzz(func(t *testing.T, host []byte, piece int) {
		r := newRig()
		asked := 0
		for len(host) > 0 {
			r.port.Take()
			left := r.port.Give(string(host), 1+piece&7)
			if r.Sample(0) == abi.OK {
				asked++
			}
			if len(left) == len(host) && r.phase == closed {
				break
			}
			if len(left) == len(host) {
				host = host[1:]
			} else {
				host = []byte(left)
			}
		}
		if len(r.got) > asked {
			t.Fatalf("%d samples, asked for %d", len(r.got), asked)
		}
		for _, s := range r.got {
			if bits := r.ResolutionBits(); bits != 0 && s.e == abi.OK && uint32(s.sample)<<bits&0xffff != 0 {
				t.Fatalf("sample %#x has more than %d bits", s.sample, bits)
			}
		}
	})
}
