package device

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDebugExit(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int
		data []byte
		want DebugExit
	}{
		{"a status", 4, []byte{7, 0, 0, 0}, DebugExit{true, 7}},
		{"a large status", 4, []byte{0xff, 0xff, 0xff, 0xff}, DebugExit{true, 0xffff_ffff}},
		{"the first of a string", 4, []byte{1, 0, 0, 0, 2, 0, 0, 0}, DebugExit{true, 1}},
		{"a byte", 1, []byte{7}, DebugExit{}},
		{"nothing", 4, nil, DebugExit{}},
	} {
		var d DebugExit
		d.WritePort(0xf4, tt.size, tt.data)
		assert.Equal(t, tt.want, d, tt.name)
	}
	d := DebugExit{true, 1}
	d.WritePort(0xf4, 4, []byte{2, 0, 0, 0})
	assert.EqualValues(t, 1, d.Status, "the first status counts")
}

func TestNothingReadsAllOnes(t *testing.T) {
	data := make([]byte, 4)
	Nothing.ReadPort(0x80, 4, data)
	assert.Equal(t, []byte{0xff, 0xff, 0xff, 0xff}, data)
	clear(data)
	Nothing.ReadMMIO(0, data)
	assert.Equal(t, []byte{0xff, 0xff, 0xff, 0xff}, data)
}
