package tcp_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"kapsel/guest/net/tcp"
)

// A script is lines, each one step:
//
//	buffers 1024 4096                   the sizes of the buffers to send and to receive, before anything else
//	connect                             from port 1 to port 2 with ISS 100 and a MSS of 1000
//	accept S 500:500 win 1000 mss 500   a SYN, with the same ISS and MSS
//	< P. 501:601 ack 101 win 1000       a segment arrives: flags (F S R P . U), sequence numbers of its data, fields
//	> . 101:101 ack 601 win 4096        the next segment that was sent is exactly this
//	write 10, read 10                   exactly so many bytes are taken
//	close, abort, release, nodelay      calls
//	together, apart                     between them nothing that Next gives is taken
//	+200ms                              the clock goes on, and Next is called once it stands there
//	sleep                               the clock goes on to Deadline
//	after 1s                            Deadline is so far away
//	never                               there is no Deadline
//	state ESTABLISHED                   the state
//	readable 10, writable 10            what Readable and Writable say
//	error TEXT                          Err, which is "none", or contains the text
//	eof                                 Read says EOF
//
// After each step all that Next gives is taken. It has to be expected by the following lines, in its order, and no more may be there.
type script struct {
	t      *testing.T
	conn   tcp.Conn
	now    uint64
	out    []string
	line   string
	wait   bool // between together and apart
	buffer [2000]byte
}

// describe writes a segment as the scripts do.
func describe(s *tcp.Segment) string {
	b := strings.Builder{}
	for i, name := range "FSRP.U" {
		if s.Flags&(1<<i) != 0 {
			b.WriteRune(name)
		}
	}
	fmt.Fprintf(&b, " %d:%d", s.Sequence, s.Sequence+uint32(len(s.Data)))
	if s.Flags&tcp.ACK != 0 {
		fmt.Fprintf(&b, " ack %d", s.Acknowledgment)
	}
	fmt.Fprintf(&b, " win %d", s.Window)
	if s.MSS != 0 {
		fmt.Fprintf(&b, " mss %d", s.MSS)
	}
	return b.String()
}

// segment reads what describe writes.
func (x *script) segment(words []string) *tcp.Segment {
	s := &tcp.Segment{Source: 2, Destination: 1}
	for i, name := range "FSRP.U" {
		if strings.ContainsRune(words[0], name) {
			s.Flags |= 1 << i
		}
	}
	from, to, _ := strings.Cut(words[1], ":")
	s.Sequence = uint32(x.number(from))
	s.Data = make([]byte, uint32(x.number(to))-s.Sequence)
	for i := range s.Data {
		s.Data[i] = byte(s.Sequence) + byte(i)
	}
	for i := 2; i+1 < len(words); i += 2 {
		v := x.number(words[i+1])
		switch words[i] {
		case "ack":
			s.Acknowledgment = uint32(v)
		case "win":
			s.Window = uint16(v)
		case "mss":
			s.MSS = uint16(v)
		default:
			x.t.Fatalf("%s: %q is no field", x.line, words[i])
		}
	}
	return s
}

func (x *script) number(s string) int {
	v, err := strconv.Atoi(s)
	require.NoError(x.t, err, x.line)
	return v
}

func (x *script) duration(s string) uint64 {
	d, err := time.ParseDuration(s)
	require.NoError(x.t, err, x.line)
	return uint64(d / time.Microsecond)
}

func play(t *testing.T, text string) {
	x := &script{t: t, now: 1e9}
	x.conn.Init(make([]byte, 16384), make([]byte, 4096))
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		x.line = line
		words := strings.Fields(line)
		if words[0] == ">" {
			require.NotEmpty(t, x.out, "%s: nothing was sent", line)
			require.Equal(t, strings.Join(words[1:], " "), x.out[0], line)
			x.out = x.out[1:]
			continue
		}
		require.Empty(t, x.out, "sent before %q", line)
		x.do(words)
		x.collect()
	}
	require.Empty(t, x.out, "sent at the end")
}

func (x *script) collect() {
	require.NoError(x.t, x.conn.Check(), x.line)
	if x.wait {
		return
	}
	var s tcp.Segment
	for x.conn.Next(&s, x.buffer[:], x.now) {
		require.NoError(x.t, x.conn.Check(), x.line)
		require.NoError(x.t, x.conn.Sent(&s), x.line)
		require.Less(x.t, len(x.out), 100, "%s: it sends without end", x.line)
		for i, b := range s.Data {
			require.Equal(x.t, byte(s.Sequence)+byte(i), b, x.line)
		}
		x.out = append(x.out, describe(&s))
	}
	require.NoError(x.t, x.conn.Settled(), x.line)
}

func (x *script) do(words []string) {
	c := &x.conn
	argument := strings.Join(words[1:], " ")
	switch words[0] {
	case "buffers":
		c.Init(make([]byte, x.number(words[1])), make([]byte, x.number(words[2])))
	case "connect":
		c.Connect(1, 2, 100, 1000)
	case "accept":
		c.Accept(x.segment(words[1:]), 100, 1000)
	case "<":
		c.Receive(x.segment(words[1:]), x.now)
	case "write":
		x.write(x.number(argument))
	case "read":
		x.read(x.number(argument))
	case "close":
		c.Close()
	case "abort":
		c.Abort()
	case "release":
		c.Release(x.now)
	case "together", "apart":
		x.wait = words[0] == "together"
	case "nodelay":
		c.SetNoDelay(true)
	case "sleep":
		at, any := c.Deadline()
		require.True(x.t, any, x.line)
		x.now = max(x.now, at)
	default:
		x.look(words[0], argument)
	}
}

func (x *script) look(word, argument string) {
	c := &x.conn
	switch {
	case word[0] == '+':
		x.now += x.duration(word[1:])
	case word == "after":
		at, any := c.Deadline()
		require.True(x.t, any, x.line)
		require.Equal(x.t, x.duration(argument), at-x.now, x.line)
	case word == "never":
		_, any := c.Deadline()
		require.False(x.t, any, x.line)
	case word == "state":
		require.Equal(x.t, argument, c.State().String(), x.line)
	case word == "readable":
		require.Equal(x.t, x.number(argument), c.Readable(), x.line)
	case word == "writable":
		require.Equal(x.t, x.number(argument), c.Writable(), x.line)
	case word == "error" && argument == "none":
		require.NoError(x.t, c.Err(), x.line)
	case word == "error":
		require.ErrorContains(x.t, c.Err(), argument, x.line)
	case word == "eof":
		n, err := c.Read(x.buffer[:1])
		require.Zero(x.t, n, x.line)
		require.Equal(x.t, tcp.EOF, err, x.line)
	default:
		x.t.Fatalf("%s: no such step", x.line)
	}
}

// write writes bytes that tell their sequence number, which begins behind ISS.
func (x *script) write(n int) {
	b := make([]byte, n)
	from := x.conn.WriteSequence()
	for i := range b {
		b[i] = byte(from) + byte(i)
	}
	put, err := x.conn.Write(b)
	require.NoError(x.t, err, x.line)
	require.Equal(x.t, n, put, x.line)
}

func (x *script) read(n int) {
	b := make([]byte, n)
	from := x.conn.ReadSequence()
	got, err := x.conn.Read(b)
	require.NoError(x.t, err, x.line)
	require.Equal(x.t, n, got, x.line)
	for i := range b {
		require.Equal(x.t, byte(from)+byte(i), b[i], x.line)
	}
}
