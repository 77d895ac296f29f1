package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Attributes and values of nf_tables that package unix does not have (linux/uapi/linux/netfilter/nf_tables.h, netfilter.h).
const (
	tableOwned = 1 << 1 // NFT_TABLE_F_OWNER: the table is gone when the socket that made it is closed
	policyDrop = 0      // NF_DROP
	chainBase  = "ingress"
)

// silence keeps the host's stack from what comes by an interface, until the file is closed, as the kernel does it when the process ends in whatever way. Packet
// sockets have taken a frame before nf_tables drops it (Linux, net/core/dev.c, __netif_receive_skb_core), so the guest hears, and nobody else answers: no ARP, no reset, no ICMP.
// The addresses stay on the interface, for who asks for them or removes what belongs to them: a CNI plugin at the end.
//
// The table has the interface's name, and an owner: a second machine at the interface is refused.
func silence(name string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("interface %q: netlink: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), "nf_tables")
	if err := unix.Sendto(fd, silencing(name), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(silenceError(name, err), f.Close())
	}
	if err := acknowledged(fd); err != nil {
		return nil, errors.Join(silenceError(name, err), f.Close())
	}
	return f, nil
}

// silencing is the batch of messages that makes the table and its only chain, as nft says it:
//
//	table netdev kapsel-eth0 { flags owner; chain ingress { type filter hook ingress device eth0 priority 0; policy drop; } }
func silencing(name string) []byte {
	table := "kapsel-" + name
	var b batch
	b.message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, unix.NFPROTO_NETDEV, 0,
		text(unix.NFTA_TABLE_NAME, table), number(unix.NFTA_TABLE_FLAGS, tableOwned))
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_ACK, unix.NFPROTO_NETDEV, 0,
		text(unix.NFTA_CHAIN_TABLE, table), text(unix.NFTA_CHAIN_NAME, chainBase), text(unix.NFTA_CHAIN_TYPE, "filter"),
		nested(unix.NFTA_CHAIN_HOOK, number(unix.NFTA_HOOK_HOOKNUM, unix.NF_NETDEV_INGRESS), number(unix.NFTA_HOOK_PRIORITY, 0), text(unix.NFTA_HOOK_DEV, name)),
		number(unix.NFTA_CHAIN_POLICY, policyDrop))
	b.message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	return b
}

// A batch is messages of nfnetlink that have effect together or not at all (linux/uapi/linux/netfilter/nfnetlink.h).
type batch []byte

// message appends a message: the headers of netlink and of nfnetlink, and attributes.
func (b *batch) message(kind, flags uint16, family byte, resource uint16, attributes ...[]byte) {
	start := len(*b)
	m := binary.NativeEndian.AppendUint32(*b, 0) // its length, below
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, flags|unix.NLM_F_REQUEST)
	m = append(m, make([]byte, 8)...) // a number and a port, which nobody asks for
	m = binary.BigEndian.AppendUint16(append(m, family, 0), resource)
	for _, a := range attributes {
		m = append(m, a...)
	}
	binary.NativeEndian.PutUint32(m[start:], uint32(len(m)-start))
	*b = m
}

// attribute is one of netlink, padded to four bytes (netlink(7)).
func attribute(kind uint16, value []byte) []byte {
	const header, align = 4, 4
	a := binary.NativeEndian.AppendUint16(nil, uint16(header+len(value)))
	a = append(binary.NativeEndian.AppendUint16(a, kind), value...)
	return append(a, make([]byte, -len(a)&(align-1))...)
}

// text is an attribute that is a string, with its end.
func text(kind uint16, value string) []byte { return attribute(kind, append([]byte(value), 0)) }

// number is an attribute of 32 bits in network order, as nf_tables has them.
func number(kind uint16, value uint32) []byte {
	return attribute(kind, binary.BigEndian.AppendUint32(nil, value))
}

// nested is an attribute of attributes.
func nested(kind uint16, inner ...[]byte) []byte {
	var all []byte
	for _, a := range inner {
		all = append(all, a...)
	}
	return attribute(kind|unix.NLA_F_NESTED, all)
}

// acknowledged reads the answers to a batch, which are there when it was sent: the first error, or that of no error.
func acknowledged(fd int) error {
	const code = 4 // bytes of struct nlmsgerr's error, behind the header
	buffer := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(fd, buffer, unix.MSG_DONTWAIT)
	if err != nil {
		return err
	}
	m := buffer[:n]
	if len(m) < unix.NLMSG_HDRLEN+code || binary.NativeEndian.Uint16(m[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("netlink: want an acknowledgment, found % x", m)
	}
	if errno := -int32(binary.NativeEndian.Uint32(m[unix.NLMSG_HDRLEN:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// silenceError says what to do where an interface cannot be kept from the host.
func silenceError(name string, err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("interface %q is another machine's: want one that no machine has", name)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("interface %q is another machine's, or may not be taken from this host: want one that no machine has, and CAP_NET_ADMIN in this network namespace, as root has it", name)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("interface %q cannot be kept from this host's own network (%w): want nf_tables with the family netdev, of Linux 5.12 or later: load it (modprobe nf_tables), or take --net tap=", name, err)
	}
	return fmt.Errorf("interface %q: nf_tables: %w", name, err)
}
