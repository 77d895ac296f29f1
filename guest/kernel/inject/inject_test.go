package inject

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want Fault
		ok   bool
	}{
		{"1:5:1", Fault{1, 1, Loop}, true},
		{"1023:9:65536", Fault{1023, 65536, Foreign}, true},
		{"1024:1:1", Fault{}, false},
		{"1:10:1", Fault{}, false},
		{"1:1", Fault{}, false},
		{"1:1:", Fault{}, false},
		{":1:1", Fault{}, false},
		{"1:1:1:1", Fault{}, false},
		{"1:1:1234567", Fault{}, false},
		{"", Fault{}, false},
	} {
		got, ok := Parse([]byte(c.text))
		require.Equal(t, c.ok, ok, c.text)
		if ok {
			require.Equal(t, c.want, got, c.text)
		}
	}
}

func TestNothingHappensBeforeTheStart(t *testing.T) {
	started = false
	Choose(Fault{Point: 6, Kind: Panic, Hit: 1})
	require.Equal(t, None, At(6))
	require.False(t, Happened())
	Start()
	require.Equal(t, Panic, At(6))
	require.True(t, Happened())
}

func TestAFaultHappensOnceAtItsHit(t *testing.T) {
	Start()
	Choose(Fault{Point: 7, Kind: Twice, Hit: Hits(7) + 2})
	require.Equal(t, None, At(7))
	require.Equal(t, None, At(8))
	require.Equal(t, Twice, At(7))
	require.Equal(t, None, At(7))
}

func TestBuffer(t *testing.T) {
	Start()
	p := []byte("abcdef")
	for kind, want := range map[Kind][]byte{None: p, NoBuffer: nil, Short: p[:3], Foreign: foreign[:]} {
		Choose(Fault{Point: 9, Kind: kind, Hit: Hits(9) + 1})
		require.Equal(t, want, Buffer(9, p))
		require.Equal(t, p, Buffer(9, p))
	}
}
