package user

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// discover is a message of DHCP that asks for an address (RFC 2131, 2).
func discover() []byte {
	m := make([]byte, 236)
	m[0], m[1], m[2] = 1, 1, byte(len(guestMAC))
	copy(m[28:], guestMAC[:])
	return append(m, 0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255)
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
