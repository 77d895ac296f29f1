package pclntab

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bytes []byte
		want  Table
	}{
		{"nothing on the stack", []byte{2, 10, 0}, Table{{110, 0}}},
		{"a frame and its end", []byte{2, 4, 16, 20, 15, 1, 0}, Table{{104, 0}, {124, 8}, {125, 0}}},
		{"the first delta may be zero", []byte{0, 3, 2, 1, 0}, Table{{103, -1}, {104, 0}}},
		{"a varint of two bytes", []byte{0x82, 0x01, 1, 0}, Table{{101, 64}}},
		{"empty", nil, nil},
		{"no end", []byte{2, 10}, nil},
		{"no address", []byte{2}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseTable(tt.bytes, 100)
			if tt.want == nil {
				require.ErrorIs(t, err, errTable)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestTableAt(t *testing.T) {
	table := Table{{104, 0}, {124, 8}}
	for pc, want := range map[uint64]int32{100: 0, 103: 0, 104: 8, 123: 8, 124: -1} {
		assert.Equal(t, want, table.At(pc), "at %d", pc)
	}
}

func TestCodeEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		lines Table
		want  uint64
	}{
		"bytes behind the code": {Table{{102, 7}, {105, 8}}, 105},
		"none":                  {Table{{112, 7}}, 112},
		"lines that go too far": {Table{{120, 7}}, 112},
		"no lines":              {nil, 112},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, (&Function{Addr: 100, End: 112, Lines: tt.lines}).CodeEnd())
		})
	}
}

func TestDamagedTable(t *testing.T) {
	_, err := cut(make([]byte, pcHeaderSize), 0)
	assert.ErrorContains(t, err, "not of the Go version")
	header := make([]byte, pcHeaderSize)
	copy(header, []byte{0xf1, 0xff, 0xff, 0xff})
	header[8] = 1             // a function,
	header[64] = pcHeaderSize // and nothing behind the header
	table, err := cut(header, 0)
	require.NoError(t, err)
	_, err = table.functions()
	assert.ErrorIs(t, err, errTable)
}

// Whatever stands in the section, the answer is a table or an error.
func FuzzPCLNTab(f *testing.F) {
	header := make([]byte, pcHeaderSize+funcInfoSize)
	copy(header, []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8, 1})
	f.Add(header)
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := cut(b, 0x1000)
		if err != nil || table.count > len(b) {
			return
		}
		_, _ = table.functions()
	})
}
