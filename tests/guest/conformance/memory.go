//go:build kapsel_task

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
)

// 14: memory that a moved break exposes is 0; a break that cannot be stays where it is.
func movedBreak() {
	old := appBreak()
	answers("sbrk up", isAddress(old), sbrk(2*abi.PageSize))
	fresh := bytesAt(old, 2*abi.PageSize)
	equal("first byte that is not 0", uint64(len(fresh)), firstNot(fresh, 0))
	for i := range fresh {
		fresh[i] = 0xa5
	}
	answers("sbrk down", isAddress(old+2*abi.PageSize), sbrk(-2*abi.PageSize+1000))
	answers("brk up", success(), brk(old+2*abi.PageSize))
	equal("first byte that was not kept", 1000, firstNot(fresh[:1000], 0xa5))
	equal("first byte that is not 0 again", uint64(len(fresh)-1000), firstNot(fresh[1000:], 0))

	answers("sbrk by 0", isAddress(old+2*abi.PageSize), sbrk(0))
	grant := memop(abi.MemopGrantStart, 0)
	for _, bad := range [...]uint64{
		0, 1, memop(abi.MemopRAMStart, 0) - 1, grant, grant + 1, memop(abi.MemopRAMEnd, 0), abi.UserMax, 1 << 63, ^uint64(0),
	} {
		answers("brk to where it cannot be", failure(abi.NOMEM), brk(bad))
		answers("sbrk to where it cannot be", failure(abi.NOMEM), sbrk(int64(bad-appBreak())))
		equal("break", old+2*abi.PageSize, appBreak())
	}
	const most, least = 1<<63 - 1, -1 << 63
	answers("sbrk by the most", failure(abi.NOMEM), sbrk(most))
	answers("sbrk by the least", failure(abi.NOMEM), sbrk(least))
	answers("brk to the last byte below the grants", success(), brk(grant-1))
	answers("brk back, which leaves room for the console's grant", success(), brk(old))
}

// firstNot is the index of the first byte that is not v, or the length.
func firstNot(b []byte, v byte) uint64 {
	for i := range b {
		if b[i] != v {
			return uint64(i)
		}
	}
	return uint64(len(b))
}

// 15: what the memory operations tell is consistent, and unknown ones are refused.
func memoryOperations() {
	start, end := memop(abi.MemopRAMStart, 0), memop(abi.MemopRAMEnd, 0)
	grant, top := memop(abi.MemopGrantStart, 0), appBreak()
	isTrue("start < break <= grants <= end", start < top && top <= grant && grant <= end)
	local := byte(0)
	isTrue("variables and stack lie below the break", start <= address(buffer[:]) && address(buffer[:]) < top &&
		start <= flagAddress() && addressOf(&local) < top)

	flash, flashEnd := memop(abi.MemopFlashStart, 0), memop(abi.MemopFlashEnd, 0)
	header := bytesAt(flash, tbf.BaseSize)
	equal("format version in the header", tbf.Version, uint64(le16(header, tbf.OffsetVersion)))
	size := uint64(le16(header, tbf.OffsetTotalSize)) | uint64(le16(header, tbf.OffsetTotalSize+2))<<16
	equal("size of flash", size, flashEnd-flash)
	isTrue("the code lies in flash", flash < recorder() && recorder() < flashEnd)

	answers("number of regions", words{uint64(abi.SuccessU32), 1}, call(abi.Memop, abi.MemopFlashRegions, 0, 0, 0))
	region, regionEnd := memop(abi.MemopRegionStart, 0), memop(abi.MemopRegionEnd, 0)
	equal("size of the region", abi.PageSize, regionEnd-region)
	isTrue("the region lies in flash", flash < region && regionEnd <= flashEnd)
	for _, index := range [...]uint64{1, 2, 1 << 32, ^uint64(0)} {
		answers("start of a region that is not", failure(abi.FAIL), call(abi.Memop, abi.MemopRegionStart, index, 0, 0))
		answers("end of a region that is not", failure(abi.FAIL), call(abi.Memop, abi.MemopRegionEnd, index, 0, 0))
	}
	for _, hint := range [...]uint64{abi.MemopSetStackTop, abi.MemopSetHeapStart} {
		answers("a hint", success(), call(abi.Memop, hint, top, 0, 0))
		answers("a hint that makes no sense", success(), call(abi.Memop, hint, ^uint64(0), 0, 0))
	}
	for _, base := range [...]uint64{abi.MemopSetFSBase, abi.MemopSetGSBase} {
		answers("a segment base too high", failure(abi.INVAL), call(abi.Memop, base, abi.UserMax, 0, 0))
	}
	for _, op := range [...]uint64{14, 99, 1 << 31, 1<<32 - 1} {
		answers("unknown memory operation", failure(abi.NOSUPPORT), call(abi.Memop, op, 0, 0, 0))
	}
}
