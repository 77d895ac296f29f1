package task

import (
	"unsafe"

	"kapsel/guest/abi"
)

// Numbers of the IPC driver (docs/abi.md, section 6).
const (
	ipcDiscover      = 1
	ipcNotifyService = 2
	ipcNotifyClient  = 3
	ipcName          = 0 // read-only allow
)

// Discover returns the peer number of the task with that name.
func Discover(name string) (peer uint32, err error) {
	text := append([]byte(nil), name...)
	if err := AllowReadOnly(abi.DriverIPC, ipcName, text); err != nil {
		return 0, err
	}
	r := Command(abi.DriverIPC, ipcDiscover, 0, 0)
	return uint32(r.Words[0]), r.Err()
}

// Lend shares pages (see Pages) with a peer: from the next notification on it may read and
// write them, until another Lend to it; nil takes them back.
func Lend(peer uint32, pages []byte) error { return Allow(abi.DriverIPC, peer, pages) }

// NotifyService makes the event of number service happen to that peer.
func NotifyService(service uint32) error {
	return Command(abi.DriverIPC, ipcNotifyService, service, 0).Err()
}

// NotifyClient makes the event of the caller's own number happen to that peer.
func NotifyClient(client uint32) error {
	return Command(abi.DriverIPC, ipcNotifyClient, client, 0).Err()
}

// WaitForPeer waits for the event of a service's number: its own if it is the service. It
// returns who notified, and what that peer lends; nil if nothing. What the peer takes back
// reads as zeroes from then on, until its next notification has been told.
func WaitForPeer(service uint32) (peer uint32, lent []byte) {
	peer, length, addr := WaitFor(abi.DriverIPC, service)
	return peer, Lent(length, addr)
}

// Lent is the memory that an upcall of IPC tells of, by its second and third argument: nil if that is none.
func Lent(length, addr uint32) []byte {
	if length == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(at(addr)), length)
}

// at is a pointer to what lies at an address outside the task's own memory.
func at(addr uint32) unsafe.Pointer {
	p := uintptr(addr)
	return *(*unsafe.Pointer)(unsafe.Pointer(&p))
}

// Pages returns n pages of memory, from the heap, that begin on a page.
func Pages(n int) []byte {
	b := make([]byte, (n+1)*abi.PageSize)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) % abi.PageSize
	return b[skip:][:n*abi.PageSize]
}
