package virtio

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

// The sizes and offsets are those of struct virtq_desc and struct virtq_used_elem (2.7.5, 2.7.8).
func TestLayoutOfQueues(t *testing.T) {
	var d Descriptor
	assert.EqualValues(t, DescriptorSize, unsafe.Sizeof(d))
	assert.EqualValues(t, 0, unsafe.Offsetof(d.Address))
	assert.EqualValues(t, 8, unsafe.Offsetof(d.Length))
	assert.EqualValues(t, 12, unsafe.Offsetof(d.Flags))
	assert.EqualValues(t, 14, unsafe.Offsetof(d.Next))
	var u UsedElement
	assert.EqualValues(t, UsedSize, unsafe.Sizeof(u))
	assert.EqualValues(t, 0, unsafe.Offsetof(u.ID))
	assert.EqualValues(t, 4, unsafe.Offsetof(u.Length))
}

// The sums are the table of 2.7: 16N, 6+2N and 6+8N.
func TestSizesOfQueues(t *testing.T) {
	for _, n := range []uint16{1, 2, 128, QueueSizeMax} {
		assert.Equal(t, 16*uint64(n), DescriptorsBytes(n))
		assert.Equal(t, 6+2*uint64(n), AvailableBytes(n))
		assert.Equal(t, 6+8*uint64(n), UsedBytes(n))
	}
}

func TestNeedsEvent(t *testing.T) {
	for _, tt := range []struct {
		name            string
		event, now, old uint16
		want            bool
	}{
		{"the one asked for", 5, 6, 5, true},
		{"not yet", 6, 6, 5, false},
		{"passed before", 4, 6, 5, false},
		{"within a batch", 7, 10, 5, true},
		{"the batch's last", 9, 10, 5, true},
		{"behind a batch", 10, 10, 5, false},
		{"round the end", 0xffff, 1, 0xfffe, true},
		{"nothing new", 5, 5, 5, false},
	} {
		assert.Equal(t, tt.want, NeedsEvent(tt.event, tt.now, tt.old), tt.name)
	}
}
