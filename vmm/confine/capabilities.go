package confine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// networking are the capabilities by which who has them configures networks and makes packets of any kind (capabilities(7)). A socket that was opened with them is
// of no use for that without them (Linux, net/netlink/af_netlink.c, __netlink_ns_capable).
const networking = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW

// giveUpNetworking has no thread of the process keep the capabilities over networks, as by which --net link= was opened.
func (o *Options) giveUpNetworking() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // of capabilities from 0 on, and from 32 on
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	if sets[0].Permitted&networking == 0 {
		return nil // and can get none
	}
	for _, set := range []*uint32{&sets[0].Effective, &sets[0].Permitted, &sets[0].Inheritable} {
		*set &^= networking
	}
	if _, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0); errno != 0 {
		return fmt.Errorf("capabilities: %w", errno)
	}
	o.Log("capabilities: those over networks are given up")
	return nil
}
