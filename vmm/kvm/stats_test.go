package kvm

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// statsBytes is a statistics file with counters of these names; size is that of each.
func statsBytes(size uint16, names ...string) []byte {
	const nameSize = 8
	h := statsHeader{NameSize: nameSize, Descriptors: uint32(len(names)), IDOffset: 24, DescriptorOffset: 32}
	h.DataOffset = h.DescriptorOffset + uint32(len(names))*(16+nameSize)
	b, _ := binary.Append(nil, little, h)
	b = append(b, "kvm-1\000\000\000"...)
	for i, name := range names {
		b, _ = binary.Append(b, little, statsDescriptor{Size: size, Offset: uint32(8 * i)})
		b = append(b, append([]byte(name), make([]byte, nameSize-len(name))...)...)
	}
	for i := range names {
		b = little.AppendUint64(b, uint64(100+i))
	}
	return b
}

func TestStatisticOffset(t *testing.T) {
	file := statsBytes(1, "halts", "exit", "exits", "exits_2")
	offset, err := statisticOffset(bytes.NewReader(file), "exits")
	require.NoError(t, err)
	assert.EqualValues(t, 102, little.Uint64(file[offset:]))

	offset, err = statisticOffset(bytes.NewReader(statsBytes(1, "eight888")), "eight888")
	require.NoError(t, err, "a name that fills its field")
	assert.EqualValues(t, 32+24, offset)
}

func TestStatisticOffsetRefuses(t *testing.T) {
	many := statsBytes(1, "exits")
	little.PutUint32(many[8:], 1<<31)
	long := statsBytes(1, "exits")
	little.PutUint32(long[4:], 1<<31)
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"no such counter", statsBytes(1, "halts"), `no statistic "exits"`},
		{"a histogram of that name", statsBytes(2, "exits"), `no statistic "exits"`},
		{"empty", nil, "reading KVM's statistics"},
		{"cut in a descriptor", statsBytes(1, "halts", "exits")[:60], "reading KVM's statistics"},
		{"cut in a name", statsBytes(1, "exits")[:50], "reading KVM's statistics"},
		{"too many", many, "2147483648 counters"},
		{"too long", long, "names of 2147483648 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := statisticOffset(bytes.NewReader(tt.file), "exits")
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
