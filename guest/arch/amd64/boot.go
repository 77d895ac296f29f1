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

// doorWindow is how much memory from 0 the doors' page tables map: all that is read before
// the final ones are in place lies below.
const doorWindow = 1 << 30

// physical is where a virtual address of the image was loaded.
func (p *bootParameters) physical(virtual uint64) uint64 {
	return p.image.start + virtual - image.Text
}

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
