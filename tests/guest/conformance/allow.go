//go:build kapsel_task

package main

import "kapsel/guest/abi"

// An allowCall is allowRW or allowRO.
type allowCall func(driver, number uint32, addr, length uint64) words

var bothAllows = [...]allowCall{allowRW, allowRO}

// 7: Allow answers with the buffer that was shared before, or with the passed one.
func allowReturnsThePairBefore() {
	addr := address(buffer[:])
	for _, allow := range bothAllows {
		answers("first Allow", had(0, 0), allow(abi.DriverConsole, spareBuffer, addr, 64))
		answers("second Allow", had(addr, 64), allow(abi.DriverConsole, spareBuffer, addr+8, 16))
		answers("failed Allow", notShared(abi.INVAL, 8, 24), allow(abi.DriverConsole, spareBuffer, 8, 24))
		answers("taking back", had(addr+8, 16), allow(abi.DriverConsole, spareBuffer, 0, 0))
		answers("Allow after that", had(0, 0), allow(abi.DriverConsole, spareBuffer, addr, 1))
	}
}

// 8: flash behind the protected region can be shared to read, and only that.
func allowOfFlash() {
	start, end, region := memop(abi.MemopFlashStart, 0), memop(abi.MemopFlashEnd, 0), memop(abi.MemopRegionStart, 0)
	code := recorder()
	for _, at := range [...]uint64{code, region, end - 8} {
		answers("Allow Read-Write of flash", notShared(abi.INVAL, at, 8), allowRW(abi.DriverConsole, spareBuffer, at, 8))
		shared := allowRO(abi.DriverConsole, spareBuffer, at, 8)
		equal("Allow Read-Only of flash", uint64(abi.SuccessAddrLen), shared[0])
	}
	const application = 256 // mkimage puts it there, behind the protected region
	for _, at := range [...]uint64{start, start + 8, start + application - 1} {
		answers("Allow Read-Only of the header", notShared(abi.INVAL, at, 8), allowRO(abi.DriverConsole, spareBuffer, at, 8))
	}
	answers("Allow Read-Only behind the header", had(end-8, 8),
		allowRO(abi.DriverConsole, spareBuffer, start+application, end-start-application))
	answers("Allow Read-Only across the end of flash", notShared(abi.INVAL, end-8, 9),
		allowRO(abi.DriverConsole, spareBuffer, end-8, 9))
}

// 9: an empty buffer may have any address.
func emptyBuffers() {
	for _, allow := range bothAllows {
		before := words{uint64(abi.SuccessAddrLen), 0, 0}
		for _, at := range [...]uint64{
			1, abi.UserMin - 1, memop(abi.MemopFlashStart, 0), memop(abi.MemopGrantStart, 0), abi.UserMax, 1 << 62,
			abi.DirectMap, abi.KernelBase, ^uint64(0),
		} {
			answers("Allow of nothing", before, allow(abi.DriverConsole, spareBuffer, at, 0))
			before = had(at, 0)
		}
	}
}

// 10: a buffer that leaves the task's memory by a byte is INVAL.
func buffersOutside() {
	addr := address(buffer[:])
	start, end := memop(abi.MemopRAMStart, 0), memop(abi.MemopRAMEnd, 0)
	command(abi.DriverAlarm, alarmStop, 0, 0) // makes a grant
	grant, top := memop(abi.MemopGrantStart, 0), appBreak()
	for _, bad := range [...]struct{ addr, length uint64 }{
		{addr, ^uint64(0)}, {addr, -addr}, {addr, -addr + 1}, {addr, 1 << 63}, {addr, 1 << 32},
		{^uint64(0), 1}, {^uint64(0), 2}, {^uint64(0) - 7, 8}, {^uint64(0) - 7, 16},
		{top - 4, 5}, {top, 1}, {top - 1, 2}, {start, top - start + 1},
		{start - 1, 2}, {start - 1, end}, // the byte before is flash
		{grant, 8}, {grant - 8, 16}, {end - 1, 1}, {end, 1}, {start, end - start},
		{0, 1}, {abi.UserMin, 1}, {abi.UserMax - 1, 1}, {abi.UserMax, 1}, {1 << 62, 1},
		{abi.DirectMap, 8}, {abi.KernelBase, 8},
	} {
		for _, allow := range bothAllows {
			answers("Allow outside", notShared(abi.INVAL, bad.addr, bad.length),
				allow(abi.DriverConsole, spareBuffer, bad.addr, bad.length))
		}
	}
	for _, allow := range bothAllows {
		answers("Allow of all RAM below the break", had(0, 0), allow(abi.DriverConsole, spareBuffer, start, top-start))
		answers("Allow of its last byte", had(start, top-start), allow(abi.DriverConsole, spareBuffer, top-1, 1))
	}
}

// 11: buffers may overlap, and be the same.
func overlappingBuffers() {
	addr := address(buffer[:])
	for _, allow := range bothAllows {
		answers("a buffer", had(0, 0), allow(abi.DriverConsole, spareBuffer, addr, 64))
		answers("the same buffer", had(0, 0), allow(abi.DriverConsole, consoleBuffer, addr, 64))
		answers("one that overlaps", had(addr, 64), allow(abi.DriverConsole, consoleBuffer, addr+8, 64))
		answers("one inside", had(addr+8, 64), allow(abi.DriverConsole, consoleBuffer, addr+1, 5))
	}
	for i, v := range [...]byte{'?', '1', '1', ':', 'x', '\n'} { // the task may write to what it shares
		buffer[i] = v
	}
	command(abi.DriverConsole, consoleWrite, 5, 0)
	answers("a write from a shared buffer", words{5, 0, 0, 0}, waitFor(abi.DriverConsole, consoleWrote))
}

// 12: read-write and read-only numbers are counted apart.
func separateSlots() {
	a, b, c := address(buffer[:]), address(buffer[32:]), address(buffer[64:])
	answers("read-write", had(0, 0), allowRW(abi.DriverConsole, spareBuffer, a, 1))
	answers("read-only", had(0, 0), allowRO(abi.DriverConsole, spareBuffer, b, 2))
	answers("read-write again", had(a, 1), allowRW(abi.DriverConsole, spareBuffer, c, 3))
	answers("read-only again", had(b, 2), allowRO(abi.DriverConsole, spareBuffer, c, 4))
	answers("the last read-write", had(c, 3), allowRW(abi.DriverConsole, spareBuffer, 0, 0))
	answers("the last read-only", had(c, 4), allowRO(abi.DriverConsole, spareBuffer, 0, 0))
}

// 13: the break stays above whatever RAM was shared, also when it is shared no more.
func breakStaysAboveBuffers() {
	for _, allow := range bothAllows {
		old := appBreak()
		brk(old + 2*abi.PageSize)
		answers("brk back, nothing shared", success(), brk(old))
		brk(old + 2*abi.PageSize)
		end := old + abi.PageSize + 100
		allow(abi.DriverConsole, spareBuffer, end-10, 10)
		answers("brk below a shared buffer's end", failure(abi.NOMEM), brk(end-1))
		answers("brk to a shared buffer's end", success(), brk(end))
		allow(abi.DriverConsole, spareBuffer, 0, 0)
		answers("brk below a buffer that was shared", failure(abi.NOMEM), brk(end-1))
		answers("sbrk below a buffer that was shared", failure(abi.NOMEM), sbrk(-1))
		equal("break", end, appBreak())
	}
}
