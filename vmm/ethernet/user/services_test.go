package user

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"kapsel/vmm/ethernet"
)

// message is one of DHCP of the guest, with options.
func message(options ...[]byte) []byte {
	m := make([]byte, dhcpOptions)
	m[dhcpOp], m[dhcpHardware], m[dhcpHardLen] = 1, 1, 6
	copy(m[dhcpXID:], "\x12\x34\x56\x78")
	copy(m[dhcpClientMAC:], guestMAC[:])
	binary.BigEndian.PutUint32(m[dhcpCookie:], 0x63825363)
	for _, o := range options {
		m = append(m, o...)
	}
	return append(m, optionEnd)
}

func discover() []byte { return message([]byte{53, 1, 1}) }

func TestLeaseReplies(t *testing.T) {
	const offer, ack, nak = 2, 5, 6
	request := []byte{53, 1, 3}
	ours, theirs := []byte{50, 4, 10, 0, 2, 15}, []byte{50, 4, 10, 0, 2, 16}
	changed := func(at int, value byte) []byte {
		m := discover()
		m[at] = value
		return m
	}
	renewal := message(request)
	copy(renewal[dhcpCurrent:], Guest.AsSlice())
	for _, test := range []struct {
		name    string
		message []byte
		want    byte // type of the reply; 0: none
	}{
		{"discover", discover(), offer},
		{"discover, padded", message([]byte{0, 0, 0, 53, 1, 1}), offer},
		{"request of our offer", message(request, ours, []byte{54, 4, 10, 0, 2, 2}), ack},
		{"request of another server's offer", message(request, ours, []byte{54, 4, 10, 0, 2, 1}), 0},
		{"request after a reboot", message(request, ours), ack},
		{"request of another address", message(request, theirs), nak},
		{"request of no address", message(request), nak},
		{"request of half an address", message(request, []byte{50, 2, 10, 0}), nak},
		{"renewal", renewal, ack},
		{"inform", message([]byte{53, 1, 8}), ack},
		{"release", message([]byte{53, 1, 7}), 0},
		{"decline", message([]byte{53, 1, 4}), 0},
		{"no type", message(), 0},
		{"a type of two bytes", message([]byte{53, 2, 1, 1}), 0},
		{"a type behind the end", append(message(), 53, 1, 1), 0},
		{"an option longer than the message", message([]byte{60, 200, 1}), 0},
		{"an option without a length", append(message()[:dhcpOptions], 53), 0},
		{"another MAC", changed(dhcpClientMAC+5, 0x57), 0},
		{"a reply", changed(dhcpOp, 2), 0},
		{"another kind of hardware", changed(dhcpHardware, 6), 0},
		{"an address of 16 bytes", changed(dhcpHardLen, 16), 0},
		{"BOOTP's cookie missing", changed(dhcpCookie, 0), 0},
		{"a byte short", discover()[:dhcpOptions-1], 0},
		{"nothing", nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := leaseReply(test.message, guestMAC)
			if test.want == 0 {
				assert.Nil(t, r)
				return
			}
			require.Len(t, r, 300)
			kind, _ := option(r, 53)
			assert.Equal(t, []byte{test.want}, kind)
			assert.Equal(t, test.message[dhcpXID:][:4], r[dhcpXID:][:4])
			assert.Equal(t, guestMAC[:], r[dhcpClientMAC:][:6])
			lease, hasLease := option(r, 51)
			gives := test.want != nak && test.name != "inform"
			assert.Equal(t, gives, hasLease)
			assert.Equal(t, gives, [4]byte(r[dhcpYours:]) == Guest.As4())
			if gives {
				assert.EqualValues(t, 86400, binary.BigEndian.Uint32(lease))
			}
		})
	}
}

// FuzzLease: no message does harm, and no other address than the guest's is ever given.
func FuzzLease(f *testing.F) {
	f.Add(discover())
	f.Add(message([]byte{53, 1, 3}, []byte{50, 4, 10, 0, 2, 15}))
	f.Add(message([]byte{53, 1, 8}, []byte{60, 255}))
	f.Fuzz(func(t *testing.T, m []byte) {
		r := leaseReply(m, guestMAC)
		if r == nil {
			return
		}
		if yours := [4]byte(r[dhcpYours:]); yours != Guest.As4() && yours != [4]byte{} {
			t.Errorf("%v is given", yours)
		}
		if ethernet.MAC(r[dhcpClientMAC:][:6]) != guestMAC {
			t.Error("to somebody else")
		}
	})
}

// query is a question of DNS.
func query(t testing.TB, name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 77, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		name, rule, query string
		kind              dnsmessage.Type
		code              dnsmessage.RCode
		answers           []string
	}{
		{"allowed", "example.com:443", "example.com.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []string{"192.0.2.10"}},
		{"allowed, in capitals", "example.com:443", "EXAMPLE.Com.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []string{"192.0.2.10"}},
		{"allowed with those beside it", "*.example.com:443", "www.example.com.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []string{"192.0.2.10"}},
		{"allowed with all", "*:443", "example.com.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []string{"192.0.2.10"}},
		{"IPv6 of one that is allowed", "example.com:443", "example.com.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, nil},
		{"mail of one that is allowed", "example.com:443", "example.com.", dnsmessage.TypeMX, dnsmessage.RCodeSuccess, nil},
		{"text, that could carry anything", "example.com:443", "example.com.", dnsmessage.TypeTXT, dnsmessage.RCodeSuccess, nil},
		{"below one that is allowed", "example.com:443", "secret.example.com.", dnsmessage.TypeA, dnsmessage.RCodeRefused, nil},
		{"above those that are allowed", "*.example.com:443", "example.com.", dnsmessage.TypeA, dnsmessage.RCodeRefused, nil},
		{"one that ends alike", "*.example.com:443", "notexample.com.", dnsmessage.TypeA, dnsmessage.RCodeRefused, nil},
		{"another", "example.com:443", "example.org.", dnsmessage.TypeA, dnsmessage.RCodeRefused, nil},
		{"IPv6 of another", "example.com:443", "example.org.", dnsmessage.TypeAAAA, dnsmessage.RCodeRefused, nil},
		{"with rules for addresses alone", "192.0.2.10:443", "example.com.", dnsmessage.TypeA, dnsmessage.RCodeRefused, nil},
		{"no rules", "", "example.com.", dnsmessage.TypeA, dnsmessage.RCodeRefused, nil},
		{"the root", "*:*", ".", dnsmessage.TypeA, dnsmessage.RCodeRefused, nil},
		{"no host's name", "*:*", "a b.example.com.", dnsmessage.TypeA, dnsmessage.RCodeRefused, nil},
		{"that does not exist", "*:*", "none.example.com.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"that leads to the host", "*.example.com:*", "rebound.example.com.", dnsmessage.TypeA, dnsmessage.RCodeRefused, nil},
		{"that cannot be looked up", "*:*", "broken.example.com.", dnsmessage.TypeA, dnsmessage.RCodeServerFailure, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c Config
			if test.rule != "" {
				c.Allow = rules(t, test.rule)
			}
			n, err := newNetwork(c, testHost())
			require.NoError(t, err)
			defer n.Close()
			var reply dnsmessage.Message
			require.NoError(t, reply.Unpack(n.answer(query(t, test.query, test.kind))))
			assert.EqualValues(t, 77, reply.ID)
			assert.True(t, reply.Response && reply.RecursionAvailable && reply.RecursionDesired)
			assert.Equal(t, test.code.String(), reply.RCode.String())
			require.Len(t, reply.Questions, 1)
			assert.Equal(t, test.query, reply.Questions[0].Name.String(), "in the letters of the question")
			var answers []string
			for _, a := range reply.Answers {
				assert.EqualValues(t, 60, a.Header.TTL)
				answers = append(answers, netip.AddrFrom4(a.Body.(*dnsmessage.AResource).A).String())
			}
			assert.Equal(t, test.answers, answers)
		})
	}
}

func TestQueriesThatAreNone(t *testing.T) {
	n, err := newNetwork(Config{Allow: rules(t, "*:*")}, testHost())
	require.NoError(t, err)
	defer n.Close()
	changed := func(at int, value byte) []byte {
		q := query(t, "example.com.", dnsmessage.TypeA)
		q[at] = value
		return q
	}
	for _, test := range []struct {
		name  string
		query []byte
		code  dnsmessage.RCode // of the reply
		none  bool
	}{
		{name: "nothing", none: true},
		{name: "half a header", query: changed(0, 0)[:7], none: true},
		{name: "a reply", query: changed(2, 0x81), none: true},
		{name: "no question", query: changed(5, 0), code: dnsmessage.RCodeFormatError},
		{name: "two questions, of which one is there", query: changed(5, 2), code: dnsmessage.RCodeFormatError},
		{name: "half a question", query: changed(0, 0)[:20], code: dnsmessage.RCodeFormatError},
		{name: "a status request", query: changed(2, 0x10), code: dnsmessage.RCodeNotImplemented},
		{name: "a name that points to itself", query: append(changed(0, 0)[:12], 0xc0, 12, 0, 1, 0, 1), code: dnsmessage.RCodeFormatError},
	} {
		t.Run(test.name, func(t *testing.T) {
			reply := n.answer(test.query)
			if test.none {
				assert.Nil(t, reply)
				return
			}
			var m dnsmessage.Message
			require.NoError(t, m.Unpack(reply))
			assert.Equal(t, test.code.String(), m.RCode.String())
			assert.Empty(t, m.Answers)
		})
	}
}

// FuzzNames: no query does harm; what is answered is a message of DNS that fits a datagram.
func FuzzNames(f *testing.F) {
	f.Add(query(f, "example.com.", dnsmessage.TypeA))
	f.Add(query(f, "rebound.example.com.", dnsmessage.TypeAAAA))
	f.Add([]byte("\x00\x4d\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	everywhere, err := ParseRule("*:*")
	require.NoError(f, err)
	n, err := newNetwork(Config{Allow: []Rule{everywhere}}, testHost())
	require.NoError(f, err)
	f.Cleanup(func() { n.Close() })
	f.Fuzz(func(t *testing.T, q []byte) {
		r := n.answer(q)
		var m dnsmessage.Message
		if r != nil && (m.Unpack(r) != nil || len(r) > 512 || !m.Response) {
			t.Errorf("%x is the answer to %x", r, q)
		}
	})
}

// TestAnswersFit: a name of many addresses has as many in its answer as fit, and the guest reaches those alone.
func TestAnswersFit(t *testing.T) {
	h := testHost()
	h.lookup = func(_ context.Context, _ string) ([]netip.Addr, error) {
		var many []netip.Addr
		for i := range 200 {
			many = append(many, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		}
		return many, nil
	}
	n, err := newNetwork(Config{Allow: rules(t, "example.com:80")}, h)
	require.NoError(t, err)
	defer n.Close()
	reply := n.answer(query(t, "example.com.", dnsmessage.TypeA))
	assert.LessOrEqual(t, len(reply), 512)
	var m dnsmessage.Message
	require.NoError(t, m.Unpack(reply))
	assert.Len(t, m.Answers, maxAnswers)
	for i := range 200 {
		to := netip.MustParseAddrPort(fmt.Sprintf("198.51.100.%d:80", i))
		assert.Equal(t, i < maxAnswers, n.egress.allows(to), to)
	}
}
