package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// TestRAM: pieces are taken one behind another, from the second half where the first has no room,
// and never twice.
func TestRAM(t *testing.T) {
	const page = abi.PageSize
	low, high := make([]byte, 3*page), make([]byte, 2*page)
	r := kernel.RAM{Low: low, High: high}
	for _, tt := range []struct {
		name string
		size uint64
		want *byte // nil: there is no such piece
	}{
		{"the first piece", 2 * page, &low[0]},
		{"more than is left of the first half", 2 * page, &high[0]},
		{"what is left of it", page, &low[2*page]},
		{"a page when nothing is left", page, nil},
		{"more than there can be", 1 << 63, nil},
	} {
		taken := r.Take(tt.size)
		if tt.want == nil {
			assert.Nil(t, taken, tt.name)
			continue
		}
		assert.Same(t, tt.want, &taken[0], tt.name)
		assert.EqualValues(t, tt.size, len(taken), tt.name)
		assert.EqualValues(t, tt.size, cap(taken), "%s: what is behind it is not reached through it", tt.name)
	}
}

// TestRecordsAreTakenByNeed: a task takes a page beside its RAM, and the next one takes that of an object
// that was skipped.
func TestRecordsAreTakenByNeed(t *testing.T) {
	const each = 6 * abi.PageSize        // what Object asks for, the reserve for grants, and the record
	m := withRAM(t, 2*each+abi.PageSize) // the third object's, which has no RAM then
	m.AddObject(app{"disabled", 7, 1, disabled}.object(t))
	m.AddTask("first", nothing, nil)
	m.AddObject(app{"disabled", 8, 1, disabled}.object(t))
	m.AddTask("second", nothing, nil)
	m.AddObject(app{"third", 9, 1, nil}.object(t))
	assert.Equal(t, 2, m.Load(), m.Log.String())
	assert.Contains(t, m.Log.String(), "skipped: not enough RAM left for what it asks for\n")
	assert.False(t, m.Continue())
}
