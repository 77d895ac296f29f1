package amd64

import "kapsel/guest/abi"

const (
	pageSize  = abi.PageSize
	stackSize = 12 << 10 // bytes of kernel stack (docs/stack.md)
)

// Written by the doors (entry_amd64.s).
var (
	doorInfo uint64 // physical address of the BootInfo, by the direct door
	doorPVH  uint64 // physical address of hvm_start_info, by the PVH door; else 0
	bootTSC  uint64 // the time-stamp counter at the first instruction
)

// stack has room to begin on a page boundary, behind a guard page (entry_amd64.s).
var stack [pageSize + pageSize + stackSize]byte

// image is filled in by mkimage. It is not zero here, so that it lies in initialised data.
var image = abi.ImageInfo{Text: abi.KernelBase}

// A bootParameters is what the kernel knows of its machine, whichever door it came in by.
type bootParameters struct {
	ram         uint64 // bytes of RAM from 0 that are mapped
	high        span   // RAM above 4 GiB, in whole pages, which nothing uses; it may be empty
	image       span   // where the image was loaded, in whole pages
	free        span   // RAM that nothing uses
	modules     span   // TBF objects that the monitor added
	cmdline     [abi.CmdlineMax]byte
	cmdlineSize int
	tscHz       uint64 // 0: unknown
	lapicHz     uint64 // 0: unknown
}

// A span is a half-open range of physical memory.
type span struct{ start, end uint64 }

func (s span) size() uint64 { return s.end - s.start }

// within reports whether s is a range at all and lies in [0, limit).
func (s span) within(limit uint64) bool { return s.start <= s.end && s.end <= limit }

// loadedAt says where the first byte of the image is, and with that the rest of it.
func (p *bootParameters) loadedAt(physical uint64, image *abi.ImageInfo) {
	p.image = span{physical, physical + abi.PageUp(max(image.DataEnd, image.TasksEnd)) - image.Text}
}

// physical is where a virtual address of the image was loaded.
func (p *bootParameters) physical(virtual uint64) uint64 {
	return p.image.start + virtual - image.Text
}

// doorWindow is how much memory from 0 the doors' page tables map: all that is read before
// the final ones are in place lies below.
const doorWindow = 1 << 30

// Reasons to refuse what the monitor handed over.
const (
	badMagic   = "the boot information does not begin with its magic number"
	badVersion = "the boot information is shorter than this kernel needs"
	badRAM     = "the boot information has no usable RAM behind the kernel"
	badImage   = "the image is not in RAM, or not on a page boundary"
	badModules = "the boot module is not in RAM, or not on a page boundary"
	badCmdline = "the command line is too long, not in RAM or above 1 GiB"
	badClock   = "the boot information has a clock below 1 MHz or above 2^40 Hz"
)

// fromBootInfo reads the direct door's information. It returns what is wrong with it, or "".
func (p *bootParameters) fromBootInfo(info *abi.BootInfo) string {
	const size = 12 * 8 // bytes of the fields known here
	switch {
	case info.Magic != abi.BootMagic:
		return badMagic
	case info.Size < size:
		return badVersion
	case info.RAMLow > abi.MMIOHole || info.RAMHigh > abi.RAMEnd-abi.MMIOHoleEnd:
		return badRAM
	}
	p.ram = abi.PageDown(info.RAMLow)
	p.high = span{abi.MMIOHoleEnd, abi.MMIOHoleEnd + abi.PageDown(info.RAMHigh)}
	p.free = span{abi.PageUp(info.Free), p.ram}
	p.modules = span{info.Modules, info.Modules + info.ModulesSize}
	p.tscHz, p.lapicHz = info.TSCHz, info.LAPICHz
	return p.setCmdline(span{info.Cmdline, info.Cmdline + info.CmdlineSize})
}

// setCmdline copies the command line.
func (p *bootParameters) setCmdline(s span) string {
	if !s.within(min(p.ram, doorWindow)) || s.size() > abi.CmdlineMax {
		return badCmdline
	}
	if s.size() > 0 {
		p.cmdlineSize = copy(p.cmdline[:], bytesAt(s.start, s.size()))
	}
	return ""
}

// check looks at what both doors must fulfil.
func (p *bootParameters) check() string {
	switch {
	case !p.modules.within(p.ram) || p.modules.start%pageSize != 0:
		return badModules
	case p.modules.size() > 0 && (p.modules.start < p.image.end || p.modules.start < p.free.end && p.free.start < p.modules.end):
		return badModules
	case p.free.start < p.image.end || !p.free.within(p.ram) || p.free.size() == 0:
		return badRAM
	case !p.image.within(p.ram) || p.image.start%pageSize != 0:
		return badImage
	case !plausibleClock(p.tscHz) || !plausibleClock(p.lapicHz):
		return badClock
	}
	return ""
}

// plausibleClock reports whether time can be kept at a frequency, or it is unknown.
func plausibleClock(hz uint64) bool { return hz == 0 || hz >= microsecond && hz <= maxHz }

// read reads what the door that was taken handed over.
func (p *bootParameters) read() string {
	problem := ""
	if doorPVH != 0 {
		p.loadedAt(image.Text-abi.KernelBase, &image)
		problem = p.fromPVH(at[pvhStartInfo](doorPVH))
	} else {
		info := at[abi.BootInfo](doorInfo)
		p.loadedAt(info.Image, &image)
		problem = p.fromBootInfo(info)
	}
	if problem == "" {
		problem = p.check()
	}
	return problem
}
