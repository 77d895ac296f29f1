package tcp_test

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"kapsel/guest/net/checksum"
	"kapsel/guest/net/tcp"
)

// withChecksum puts the right checksum into a segment.
func withChecksum(b []byte) []byte {
	b[16], b[17] = 0, 0
	sum := checksum.Finish(checksum.Add(pseudo(len(b)), b))
	b[16], b[17] = byte(sum>>8), byte(sum)
	return b
}

// syn is a SYN with options.
func syn(options ...byte) []byte {
	b := make([]byte, 20, 60)
	b = append(b, options...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b[12], b[13] = byte(len(b)/4)<<4, byte(tcp.SYN)
	return withChecksum(b)
}

func TestParse(t *testing.T) {
	short := withChecksum(make([]byte, 20))
	long := syn()
	long[12] = 15 << 4
	wrong := syn(2, 4, 1, 2)
	wrong[0] ^= 1
	data := withChecksum([]byte{0, 80, 1, 2, 0, 0, 0, 7, 0, 0, 0, 9, 5 << 4, 0xd8, 3, 4, 0, 0, 0, 99, 'h', 'i', '!'})
	for _, tt := range []struct {
		name string
		b    []byte
		want *tcp.Segment
	}{
		{"nothing", nil, nil},
		{"less than a header", make([]byte, 19), nil},
		{"a header that is too short", short, nil},
		{"a header beyond the end", withChecksum(long), nil},
		{"a wrong checksum", wrong, nil},
		{"data, flags of ECN, an urgent pointer", data, &tcp.Segment{
			Source: 80, Destination: 0x102, Sequence: 7, Acknowledgment: 9, Flags: tcp.PSH | tcp.ACK, Window: 0x304, Data: []byte("hi!")}},
		{"a MSS", syn(2, 4, 5, 0xb4), &tcp.Segment{Flags: tcp.SYN, MSS: 1460, Data: []byte{}}},
		{"a MSS among others", syn(1, 4, 2, 3, 3, 7, 2, 4, 1, 2, 0, 9), &tcp.Segment{Flags: tcp.SYN, MSS: 0x102, Data: []byte{}}},
		{"behind the end of options", syn(0, 2, 4, 1, 2), &tcp.Segment{Flags: tcp.SYN, Data: []byte{}}},
		{"an option of length 0", syn(8, 0), nil},
		{"an option of length 1", syn(8, 1), nil},
		{"an option beyond the header", syn(8, 5), nil},
		{"an option without its length", syn(1, 1, 1, 8), nil},
		{"a MSS of another length", syn(2, 3, 1), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s tcp.Segment
			require.Equal(t, tt.want != nil, tcp.Parse(tt.b, pseudo(len(tt.b)), &s))
			if tt.want != nil {
				assert.Equal(t, *tt.want, s)
			}
		})
	}
}

// TestPut compares with gVisor's reading.
func TestPut(t *testing.T) {
	for _, s := range []tcp.Segment{
		{Source: 1, Destination: 2, Sequence: 3, Acknowledgment: 4, Flags: tcp.SYN | tcp.ACK, Window: 5, MSS: 1460},
		{Source: 65535, Destination: 2, Sequence: 1 << 31, Flags: tcp.PSH | tcp.ACK, Window: 65535, MSS: 1460, Data: []byte("odd")},
	} {
		b := make([]byte, s.Size())
		require.Zero(t, s.Put(b[:len(b)-1], 0))
		require.Equal(t, len(b), s.Put(b, pseudo(len(b))))
		h := header.TCP(b)
		assert.Equal(t, []any{s.Source, s.Destination, s.Sequence, s.Acknowledgment, uint8(s.Flags), s.Window, len(s.Data)},
			[]any{h.SourcePort(), h.DestinationPort(), h.SequenceNumber(), h.AckNumber(), uint8(h.Flags()), h.WindowSize(), len(h.Payload())})
		if s.Flags&tcp.SYN != 0 {
			assert.Equal(t, s.MSS, header.ParseSynOptions(h.Options(), true).MSS)
		}
	}
}

// TestPutInPlace: data that lies behind the header stays.
func TestPutInPlace(t *testing.T) {
	b := make([]byte, 30)
	copy(b[tcp.HeaderSize:], "0123456789")
	s := tcp.Segment{Flags: tcp.ACK, Data: b[tcp.HeaderSize:]}
	require.Equal(t, 30, s.Put(b, pseudo(30)))
	assert.Equal(t, "0123456789", string(b[tcp.HeaderSize:]))
	assert.True(t, tcp.Parse(b, pseudo(30), &tcp.Segment{}))
}

func TestRefuse(t *testing.T) {
	var answer tcp.Segment
	require.False(t, tcp.Refuse(&tcp.Segment{Flags: tcp.RST | tcp.ACK}, &answer))
	require.True(t, tcp.Refuse(&tcp.Segment{Source: 1, Destination: 2, Sequence: 7, Acknowledgment: 9, Flags: tcp.ACK | tcp.SYN}, &answer))
	assert.Equal(t, tcp.Segment{Source: 2, Destination: 1, Sequence: 9, Flags: tcp.RST}, answer)
	require.True(t, tcp.Refuse(&tcp.Segment{Source: 1, Destination: 2, Sequence: 7, Flags: tcp.SYN | tcp.FIN, Data: make([]byte, 10)}, &answer))
	assert.Equal(t, tcp.Segment{Source: 2, Destination: 1, Acknowledgment: 19, Flags: tcp.RST | tcp.ACK}, answer)
}

// FuzzParse: whatever is taken is written the same, but for options and flags that are passed over.
func FuzzParse(f *testing.F) {
	f.Add(syn(2, 4, 5, 0xb4), true)
	f.Add(syn(1, 4, 2, 3, 3, 7, 2, 4, 1, 2, 0, 9), true)
	f.Add(syn(8, 0), true)
	f.Add(encode(&tcp.Segment{Flags: tcp.ACK, Data: []byte("data")}), false)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) >= tcp.HeaderSize {
			b = withChecksum(append([]byte(nil), b...))
		}
		var s, again tcp.Segment
		if !tcp.Parse(b, pseudo(len(b)), &s) {
			return
		}
		require.Zero(t, checksum.Finish(checksum.Add(pseudo(len(b)), b)))
		c := encode(&s)
		require.True(t, tcp.Parse(c, pseudo(len(c)), &again))
		require.Equal(t, s, again)
	})
}

// TestMemoryOfAConnection is what docs/network.md promises.
func TestMemoryOfAConnection(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(tcp.Conn{}), uintptr(400))
	t.Logf("a connection has %d bytes, and its buffers", unsafe.Sizeof(tcp.Conn{}))
}

func TestBuffersArePowersOfTwo(t *testing.T) {
	var c tcp.Conn
	for _, n := range []int{0, 3, 1000} {
		assert.Panics(t, func() { c.Init(make([]byte, n), make([]byte, 16)) })
		assert.Panics(t, func() { c.Init(make([]byte, 16), make([]byte, n)) })
	}
}
