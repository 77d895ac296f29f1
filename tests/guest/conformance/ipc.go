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

// A peerName is room for a name.
type peerName [16]byte

var serviceName, clientName peerName

// set makes the name of a part of this task's behaviour, of a task whose words have that size.
func (p *peerName) set(bits32 bool, part byte) string {
	n := copy(p[:], prefix)
	if bits32 {
		n += copy(p[n:], "32-")
	}
	n += copy(p[n:], name[:2])
	p[n] = part
	return stringOf(p[:n+1])
}

// pair plays this task's part: s and t are services, c and d their clients. The peer of t or d
// is a 32-bit task.
func pair(serve, beClient func(service, client string)) {
	mixed := rolePart == 't' || rolePart == 'd'
	serviceBits32, clientBits32 := rolePart == 'd', rolePart == 't'
	service, client := byte('s'), byte('c')
	if mixed {
		service, client = 't', 'd'
	}
	play := beClient
	if rolePart == service {
		play = serve
	}
	play(serviceName.set(serviceBits32, service), clientName.set(clientBits32, client))
}

// 30: clients find services and lend each a page, which the service can touch from the
// notification on, as long as the client lives and leaves it there. Once the service is told
// that nothing is lent, the page is not there.
func interprocess() { pair(serve, beClient) }

// pages holds two whole pages wherever it begins.
var pages [3 * abi.PageSize]byte

func ownPages(n uint64) []byte {
	skip := -address(pages[:]) % abi.PageSize
	return pages[skip:][:n*abi.PageSize]
}

func beClient(serviceName, clientName string) {
	service := discover(serviceName)
	isTrue("the service is found", service[0] == uint64(abi.SuccessU32))
	peer := uint32(service[1])
	own := discover(clientName)
	isTrue("a task finds itself, in another slot", own[0] == uint64(abi.SuccessU32) && own[1] != service[1])
	answers("a name that nobody has", failure(abi.NODEVICE), discover(prefix))
	answers("no name", failure(abi.INVAL), discover(""))
	for _, nobody := range [...]uint32{uint32(own[1]), 63, 64, ^uint32(0)} {
		answers("notifying itself or nobody", failure(abi.INVAL), command(abi.DriverIPC, ipcNotifyService, nobody, 0))
	}
	page := ownPages(1)
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

// untilGone waits until a task has ended.
func untilGone(name string) {
	for discover(name)[0] == uint64(abi.SuccessU32) {
		task.Sleep(1)
	}
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
		untilGone(clientName)
		isBlank(bytesAt(window, abi.PageSize))
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

// isBlank looks at memory that was taken back: it reads as zero, and can be written.
func isBlank(b []byte) {
	for i := 0; i < len(b); i += abi.PageSize / 4 {
		equal("a byte that was taken back", 0, uint64(b[i]))
	}
	b[0], b[len(b)-1] = 1, 0
	equal("a byte that the service itself wrote", 1, uint64(b[0]))
	b[0] = 0
}

// 31: clients take back what they lent while the service is at work, more often than a task may
// fault. The service finds zeroes until it is told that nothing is lent.
func takenBack() {
	const rounds = 40
	pair(func(serviceName, clientName string) {
		own, client := uint32(discover(serviceName)[1]), discover(clientName)[1]
		window := abi.LoanStart + client*abi.LoanSize
		for range rounds {
			answers("a notification", words{client, 2 * abi.PageSize, window}, waitFor(abi.DriverIPC, own))
			hail(client)
			lent := bytesAt(window, 2*abi.PageSize)
			for *wordAt(window) != 0 || *wordAt(window + abi.PageSize) != 0 {
				for range 500 {
					spun += uint64(lent[spun%uint64(len(lent))])
				}
				task.Sleep(1)
			}
			isBlank(lent)
			hail(client)
			answers("a notification that lends nothing", words{client}, waitFor(abi.DriverIPC, own))
			hail(client)
		}
	}, func(serviceName, _ string) {
		service := discover(serviceName)[1]
		lent := ownPages(2)
		for range rounds {
			*wordAt(address(lent)), *wordAt(address(lent) + abi.PageSize) = 1, 1
			allowRW(abi.DriverIPC, uint32(service), address(lent), 2*abi.PageSize)
			notify(uint32(service))
			answers("the service is at work", words{service}, waitFor(abi.DriverIPC, uint32(service)))
			task.Sleep(1)
			allowRW(abi.DriverIPC, uint32(service), 0, 0)
			answers("the service has seen that it was taken back", words{service}, waitFor(abi.DriverIPC, uint32(service)))
			equal("what the service wrote by then is not here", 1, *wordAt(address(lent)))
			notify(uint32(service))
			answers("the service was told", words{service}, waitFor(abi.DriverIPC, uint32(service)))
		}
	})
}

// 32: clients notify services without end. The services miss none of their alarms.
func floods() {
	pair(func(serviceName, _ string) {
		own := uint32(discover(serviceName)[1])
		yield(abi.YieldWaitFor, abi.DriverIPC, uint64(own)) // until the client has begun
		subscribe(abi.DriverIPC, own, recorder(), 1)
		subscribe(abi.DriverAlarm, alarmFired, recorder(), 2)
		for range 30 {
			expiry := command(abi.DriverAlarm, alarmRelative, 10_000, 0)[1]
			told := false
			for waited := 0; !told && waited < 10_000; waited++ {
				forget()
				yield(abi.YieldWait, 0, 0)
				told = calls[0][3] == 2 && calls[0][1] == expiry
			}
			isTrue("the alarm fired", told)
			finishIfFailed()
		}
	}, func(serviceName, _ string) {
		service := uint32(discover(serviceName)[1])
		answer := success()
		for answer == success() {
			for i := 0; i < 200 && answer == success(); i++ {
				answer = command(abi.DriverIPC, ipcNotifyService, service, 0)
			}
			task.Sleep(1)
		}
		answers("notifying a service that has ended", failure(abi.NODEVICE), answer)
	})
}

// 33: clients notify services that have not subscribed. They are told as soon as they have, or
// wait for it, of what is lent by then.
func beforeSubscribe() {
	pair(func(serviceName, clientName string) {
		own, client := uint32(discover(serviceName)[1]), discover(clientName)[1]
		window := abi.LoanStart + client*abi.LoanSize
		answers("a notification of another event", words{client, abi.PageSize, window}, waitFor(abi.DriverIPC, uint32(client)))
		isTrue("without a function no upcall waits", !ranUpcall())
		subscribe(abi.DriverIPC, own, recorder(), 7)
		yield(abi.YieldWait, 0, 0)
		isTrue("the upcall that the notification waited for", count == 1 && calls[0] == record{client, abi.PageSize, window, 7})
		equal("what is lent", 1, *wordAt(window))
		subscribe(abi.DriverIPC, own, 0, 0)
		hail(client)
		answers("a notification of another event", words{client}, waitFor(abi.DriverIPC, uint32(client)))
		answers("a notification whose loan was taken back", words{client}, waitFor(abi.DriverIPC, own))
		hail(client)
	}, func(serviceName, _ string) {
		service := uint32(discover(serviceName)[1])
		lent := ownPages(1)
		*wordAt(address(lent)) = 1
		for range 2 {
			allowRW(abi.DriverIPC, service, address(lent), abi.PageSize)
			notify(service)
			if count++; count == 2 {
				allowRW(abi.DriverIPC, service, 0, 0)
			}
			hail(uint64(service)) // another event, by which it knows of this one
			answers("the service's answer", words{uint64(service)}, waitFor(abi.DriverIPC, service))
		}
		untilGone(serviceName)
		answers("notifying a service that has ended", failure(abi.NODEVICE), command(abi.DriverIPC, ipcNotifyService, service, 0))
	})
}

// 34: no task finds another by a name that several have, whatever their slots and whether they
// have ended: the parts x have one name, and the others ask for it.
func names() {
	if rolePart == 'x' {
		return
	}
	for range 3 {
		answers("a name that several have", failure(abi.FAIL), discover(serviceName.set(false, 'x')))
		task.Sleep(20)
	}
}
