package amd64

// A table is a page table of any level (SDM vol. 3, 4.5).
type table [512]uint64

// Bits of an entry.
const (
	pteP   = 1 << 0 // present
	pteW   = 1 << 1 // writeable
	pteU   = 1 << 2 // ring 3 may
	ptePWT = 1 << 3
	ptePCD = 1 << 4 // with PWT: a device, not cached
	ptePS  = 1 << 7 // in a PDPT or PD: a large page
	pteG   = 1 << 8 // in every address space
	pteNX  = 1 << 63

	pteAddress = 0x000f_ffff_ffff_f000
)

// What pages are used for. There is none that is writeable and executable.
const (
	kernelRX = pteP | pteG
	kernelR  = pteP | pteG | pteNX
	kernelRW = pteP | pteG | pteNX | pteW
	deviceRW = pteP | pteG | pteNX | pteW | ptePCD | ptePWT
	userRX   = pteP | pteU
	userRW   = pteP | pteU | pteNX | pteW

	tableBits = pteP | pteW | pteU // rights are decided at the last level
)

const (
	largePage = 2 << 20
	hugePage  = 1 << 30
	topPage   = 1 << 39 // what an entry of the top table maps
)

// fill sets entries to value, value+step, and so on: sixteen at a time, as booting does it for all RAM.
func fill(entries []uint64, value, step uint64) {
	for ; len(entries) >= 16; entries = entries[16:] {
		e := (*[16]uint64)(entries)
		e[0], e[1], e[2], e[3] = value, value+step, value+2*step, value+3*step
		value += 4 * step
		e[4], e[5], e[6], e[7] = value, value+step, value+2*step, value+3*step
		value += 4 * step
		e[8], e[9], e[10], e[11] = value, value+step, value+2*step, value+3*step
		value += 4 * step
		e[12], e[13], e[14], e[15] = value, value+step, value+2*step, value+3*step
		value += 4 * step
	}
	for i := range entries {
		entries[i] = value
		value += step
	}
}
