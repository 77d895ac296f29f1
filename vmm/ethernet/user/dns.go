package user

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// dnsPort is the port of DNS (RFC 1035, 4.2.1).
const dnsPort = 53

// Limits of an answer: it fits into the 512 bytes of a datagram (RFC 1035, 4.2.1).
const (
	maxAnswers = 8
	answerTTL  = 60 // seconds
)

// serveDNS answers a query for a name that a rule allows, by the host's own resolver: its hosts file and
// all. It looks names up on goroutines of which there are few; who finds none free asks again.
func (n *Network) serveDNS(socket *gonet.UDPConn, query []byte, from net.Addr) {
	if !n.lookups.take() {
		n.stats.full.Add(1)
		return
	}
	query = bytes.Clone(query)
	answer := func() {
		defer n.lookups.give()
		if reply := n.answer(query); reply != nil {
			socket.WriteTo(reply, from)
		}
	}
	if !n.enter(answer) {
		n.lookups.give()
	}
}

// answer makes the reply to a query, or nil if it is none.
func (n *Network) answer(query []byte) []byte {
	var parser dnsmessage.Parser
	head, err := parser.Start(query)
	if err != nil || head.Response {
		return nil
	}
	reply := dnsmessage.Header{
		ID: head.ID, Response: true, OpCode: head.OpCode,
		RecursionDesired: head.RecursionDesired, RecursionAvailable: true,
	}
	questions, err := parser.AllQuestions()
	if err != nil || len(questions) != 1 || head.OpCode != 0 {
		reply.RCode = dnsmessage.RCodeFormatError
		if head.OpCode != 0 {
			reply.RCode = dnsmessage.RCodeNotImplemented
		}
		return pack(reply, nil, nil)
	}
	var addresses []netip.Addr
	addresses, reply.RCode = n.resolve(questions[0])
	return pack(reply, questions, addresses)
}

// resolve finds the addresses that answer a question. Only IPv4 is to be had: a name that is allowed has nothing else.
func (n *Network) resolve(q dnsmessage.Question) ([]netip.Addr, dnsmessage.RCode) {
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	if checkName(name) != nil || !n.egress.allowsName(name) {
		n.stats.namesDenied.Add(1)
		n.refuse.tell(fmt.Sprintf("the name %q", name), "no rule has it")
		return nil, dnsmessage.RCodeRefused
	}
	if q.Type != dnsmessage.TypeA || q.Class != dnsmessage.ClassINET {
		return nil, dnsmessage.RCodeSuccess
	}
	n.stats.names.Add(1)
	ctx, cancel := context.WithTimeout(n.ctx, lookupTime)
	defer cancel()
	found, err := n.host.lookup(ctx, name)
	var failure *net.DNSError
	switch {
	case errors.As(err, &failure) && failure.IsNotFound:
		return nil, dnsmessage.RCodeNameError
	case err != nil:
		return nil, dnsmessage.RCodeServerFailure
	}
	addresses := n.egress.keep(name, found[:min(len(found), maxAnswers)])
	if len(addresses) == 0 && len(found) > 0 {
		n.stats.namesDenied.Add(1)
		n.refuse.tell(fmt.Sprintf("the name %q", name), "it leads to this host, which only a rule with an address allows")
		return nil, dnsmessage.RCodeRefused
	}
	return addresses, dnsmessage.RCodeSuccess
}

// pack writes a reply, or nil if a name in it cannot be written.
func pack(head dnsmessage.Header, questions []dnsmessage.Question, addresses []netip.Addr) []byte {
	m := dnsmessage.Message{Header: head, Questions: questions}
	for _, a := range addresses {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: answerTTL},
			Body:   &dnsmessage.AResource{A: a.As4()},
		})
	}
	reply, err := m.Pack()
	if err != nil {
		return nil
	}
	return reply
}
