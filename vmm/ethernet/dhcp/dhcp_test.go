package dhcp

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/ethernet"
)

// lease is that of user mode.
var lease = Lease{
	MAC: ethernet.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, Server: netip.MustParseAddr("10.0.2.2"), Address: netip.MustParsePrefix("10.0.2.15/24"),
	Router: netip.MustParseAddr("10.0.2.2"), Resolvers: []netip.Addr{netip.MustParseAddr("10.0.2.3")}, Time: 24 * time.Hour,
}

// message is one of DHCP of the guest, with options.
func message(options ...[]byte) []byte {
	m := make([]byte, fieldOptions)
	m[fieldOp], m[fieldHardware], m[fieldHardLen] = 1, 1, 6
	copy(m[fieldXID:], "\x12\x34\x56\x78")
	copy(m[fieldClientMAC:], lease.MAC[:])
	binary.BigEndian.PutUint32(m[fieldCookie:], 0x63825363)
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
	copy(renewal[fieldCurrent:], lease.Address.Addr().AsSlice())
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
		{"an option without a length", append(message()[:fieldOptions], 53), 0},
		{"another MAC", changed(fieldClientMAC+5, 0x57), 0},
		{"a reply", changed(fieldOp, 2), 0},
		{"another kind of hardware", changed(fieldHardware, 6), 0},
		{"an address of 16 bytes", changed(fieldHardLen, 16), 0},
		{"BOOTP's cookie missing", changed(fieldCookie, 0), 0},
		{"a byte short", discover()[:fieldOptions-1], 0},
		{"nothing", nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := lease.Reply(test.message)
			if test.want == 0 {
				assert.Nil(t, r)
				return
			}
			require.Len(t, r, 300)
			kind, _ := option(r, 53)
			assert.Equal(t, []byte{test.want}, kind)
			assert.Equal(t, test.message[fieldXID:][:4], r[fieldXID:][:4])
			assert.Equal(t, lease.MAC[:], r[fieldClientMAC:][:6])
			length, hasLease := option(r, 51)
			gives := test.want != nak && test.name != "inform"
			assert.Equal(t, gives, hasLease)
			assert.Equal(t, gives, [4]byte(r[fieldYours:]) == lease.Address.Addr().As4())
			if gives {
				assert.EqualValues(t, 86400, binary.BigEndian.Uint32(length))
			}
		})
	}
}

// TestReplyTellsTheNetwork: mask, router, resolvers and routes, as far as there are some, and the time.
func TestReplyTellsTheNetwork(t *testing.T) {
	address := netip.MustParseAddr
	var many []Route
	for i := range 100 {
		many = append(many, Route{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24), address("10.0.0.1")})
	}
	for _, test := range []struct {
		name                           string
		change                         func(*Lease)
		mask, router, dns, routes, ttl string
	}{
		{"all of user mode", func(*Lease) {}, "\xff\xff\xff\x00", "\x0a\x00\x02\x02", "\x0a\x00\x02\x03", "", "\x00\x01\x51\x80"},
		{"an address alone", func(l *Lease) {
			l.Address, l.Router, l.Resolvers, l.Time = netip.MustParsePrefix("10.0.2.15/32"), netip.Addr{}, nil, 0
		}, "\xff\xff\xff\xff", "", "", "", "\xff\xff\xff\xff"},
		{"resolvers and routes", func(l *Lease) {
			l.Resolvers = []netip.Addr{address("1.1.1.1"), address("1.1.1.2"), address("1.1.1.3"), address("1.1.1.4")}
			l.Routes = []Route{{netip.MustParsePrefix("10.128.0.0/9"), address("10.0.2.9")}, {netip.MustParsePrefix("169.254.1.1/32"), netip.Addr{}}}
		}, "\xff\xff\xff\x00", "\x0a\x00\x02\x02", "\x01\x01\x01\x01\x01\x01\x01\x02\x01\x01\x01\x03",
			"\x00\x0a\x00\x02\x02" + "\x09\x0a\x80\x0a\x00\x02\x09" + "\x20\xa9\xfe\x01\x01\x00\x00\x00\x00", "\x00\x01\x51\x80"},
		{"more routes than have room", func(l *Lease) { l.Router, l.Routes = netip.Addr{}, many },
			"\xff\xff\xff\x00", "", "\x0a\x00\x02\x03", "31", "\x00\x01\x51\x80"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := lease
			test.change(&l)
			r := l.Reply(discover())
			require.NotNil(t, r)
			assert.LessOrEqual(t, len(r), 548)
			for code, want := range map[byte]string{1: test.mask, 3: test.router, 6: test.dns, 51: test.ttl} {
				got, ok := option(r, code)
				assert.Equal(t, want, string(got), "option %d", code)
				assert.Equal(t, want != "", ok, "option %d", code)
			}
			routes, _ := option(r, 121)
			if test.routes == "31" {
				assert.Len(t, routes, 31*8)
			} else {
				assert.Equal(t, test.routes, string(routes))
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
		r := lease.Reply(m)
		if r == nil {
			return
		}
		if yours := [4]byte(r[fieldYours:]); yours != lease.Address.Addr().As4() && yours != [4]byte{} {
			t.Errorf("%v is given", yours)
		}
		if ethernet.MAC(r[fieldClientMAC:][:6]) != lease.MAC {
			t.Error("to somebody else")
		}
	})
}
