//go:build kapsel_task

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Numbers of the IPC driver.
const (
	ipcDiscover      = 1
	ipcNotifyService = 2
	ipcNotifyClient  = 3
	ipcName          = 0 // read-only allow
)

// 30: parts c and d, clients, find parts s and t, services, and lend each a page, which the
// service can touch from the notification on and no longer than the client lives or leaves it
// there. The peer of t or d is a 32-bit task.
func interprocess() {
	switch rolePart {
	case 's':
		serve(prefix+"30s", prefix+"30c")
	case 'c':
		beClient(prefix+"30s", prefix+"30c")
	case 't':
		serve(prefix+"30t", prefix+"32-30d")
	case 'd':
		beClient(prefix+"32-30t", prefix+"30d")
	default:
		fail("there is no such part", 0, uint64(rolePart))
	}
}

// pages holds one whole page wherever it begins.
var pages [2 * abi.PageSize]byte

func ownPage() []byte {
	skip := -address(pages[:]) % abi.PageSize
	return pages[skip:][:abi.PageSize]
}

func beClient(serviceName, clientName string) {
	service := discover(serviceName)
	isTrue("the service is found", service[0] == uint64(abi.SuccessU32))
	peer := uint32(service[1])
	own := discover(clientName)
	isTrue("a task finds itself, in another slot", own[0] == uint64(abi.SuccessU32) && own[1] != service[1])
	answers("a name that nobody has", failure(abi.NODEVICE), discover(prefix))
	answers("no name", failure(abi.INVAL), discover(""))
	for _, nobody := range [...]uint32{uint32(own[1]), 15, 16, ^uint32(0)} {
		answers("notifying itself or nobody", failure(abi.INVAL), command(abi.DriverIPC, ipcNotifyService, nobody, 0))
	}
	page := ownPage()
	answers("Allow for a peer", had(0, 0), allowRW(abi.DriverIPC, peer, address(page), 100))
	answers("lending a part of a page", failure(abi.INVAL), command(abi.DriverIPC, ipcNotifyService, peer, 0))
	allowRW(abi.DriverIPC, peer, 0, 0)

	notify(peer) // nothing
	allowRW(abi.DriverIPC, peer, address(page), abi.PageSize)
	answers("the service's second life", words{service[1]}, waitFor(abi.DriverIPC, peer))

	copy(page, "lent")
	notify(peer)
	answers("the service's answer", words{service[1]}, waitFor(abi.DriverIPC, peer))
	isTrue("what the service wrote is there", stringOf(page[:4]) == "LENT")
	answers("taking the page back", had(address(page), abi.PageSize), allowRW(abi.DriverIPC, peer, 0, 0))
	notify(peer) // nothing
	answers("the service's third life", words{service[1]}, waitFor(abi.DriverIPC, peer))

	allowRW(abi.DriverIPC, peer, address(page), abi.PageSize)
	notify(peer) // and end
}

func discover(name string) words {
	n := copy(buffer[:], name)
	allowRO(abi.DriverIPC, ipcName, address(buffer[:]), uint64(n))
	return command(abi.DriverIPC, ipcDiscover, 0, 0)
}

func notify(service uint32) {
	answers("notifying the service", success(), command(abi.DriverIPC, ipcNotifyService, service, 0))
}

// serve has a life for each way in which the page is not there, which ends by a fault.
func serve(serviceName, clientName string) {
	own, client := discover(serviceName)[1], discover(clientName)[1]
	window := abi.LoanStart + client*abi.LoanSize
	*life()++
	switch *life() {
	case 1:
		answers("a notification that lends nothing", words{client}, waitFor(abi.DriverIPC, uint32(own)))
		spun += uint64(bytesAt(window, 1)[0])
	case 2:
		hail(client)
		answers("a notification", words{client, abi.PageSize, window}, waitFor(abi.DriverIPC, uint32(own)))
		lent := bytesAt(window, abi.PageSize)
		isTrue("what the client wrote is there", stringOf(lent[:4]) == "lent")
		for i := range 4 {
			lent[i] -= 'a' - 'A'
		}
		hail(client)
		answers("a notification that lends nothing", words{client}, waitFor(abi.DriverIPC, uint32(own)))
		finishIfFailed()
		lent[0] = 0
	case 3:
		hail(client)
		answers("a notification", words{client, abi.PageSize, window}, waitFor(abi.DriverIPC, uint32(own)))
		for discover(clientName)[0] == uint64(abi.SuccessU32) {
			task.Sleep(1)
		}
		finishIfFailed()
		spun += uint64(bytesAt(window, 1)[0])
	case 4:
		return
	}
	fail("a page that is not lent can be touched, in life", 0, *life())
}

// hail notifies the client as a service does.
func hail(client uint64) {
	answers("notifying the client", success(), command(abi.DriverIPC, ipcNotifyClient, uint32(client), 0))
}

// finishIfFailed ends a life whose report would be lost in a fault.
func finishIfFailed() {
	if failures != 0 {
		finish()
	}
}
