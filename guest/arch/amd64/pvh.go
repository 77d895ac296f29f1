package amd64

import (
	"unsafe"

	"kapsel/guest/abi"
)

// Structures of the PVH boot protocol (Xen, public/arch-x86/hvm/start_info.h).
type (
	pvhStartInfo struct {
		magic, version      uint32
		flags, modules      uint32
		moduleList, cmdline uint64
		rsdp, memoryMap     uint64
		memoryMapEntries    uint32
		_                   uint32
	}
	pvhModule struct{ addr, size, cmdline, _ uint64 }
	pvhMemory struct {
		addr, size uint64
		kind, _    uint32
	}
)

const (
	pvhMagic  = 0x336ec578
	pvhRAM    = 1  // pvhMemory.kind
	pvhMapMax = 64 // entries that are looked at
)

const (
	badPVHMagic = "hvm_start_info does not begin with its magic number"
	badPVHMap   = "hvm_start_info has no memory map of 1 to 64 ranges below 1 GiB (its version must be 1 or more)"
)

// fromPVH reads the PVH door's information. Above the image lies free memory, but for a
// module: of what is below and above that, the larger part is used. So is the largest range
// above 4 GiB. It returns what is wrong, or "".
func (p *bootParameters) fromPVH(info *pvhStartInfo) string {
	switch {
	case info.magic != pvhMagic:
		return badPVHMagic
	case info.version < 1 || info.memoryMapEntries == 0 || info.memoryMapEntries > pvhMapMax:
		return badPVHMap
	}
	const entry = uint64(unsafe.Sizeof(pvhMemory{}))
	memory := span{info.memoryMap, info.memoryMap + uint64(info.memoryMapEntries)*entry}
	if !memory.within(doorWindow) {
		return badPVHMap
	}
	for addr := memory.start; addr < memory.end; addr += entry {
		m := at[pvhMemory](addr)
		end := m.addr + m.size
		if m.kind != pvhRAM || end < m.addr {
			continue
		}
		if m.addr < p.image.end && end > p.image.end {
			p.ram = min(abi.PageDown(end), abi.MMIOHole)
		}
		start := max(abi.PageUp(min(m.addr, abi.RAMEnd)), abi.MMIOHoleEnd)
		p.high = larger(p.high, span{start, min(abi.PageDown(end), abi.RAMEnd)})
	}
	p.free = span{p.image.end, p.ram}
	if info.modules > 0 {
		if info.moduleList > doorWindow-uint64(unsafe.Sizeof(pvhModule{})) {
			return badModules
		}
		m := at[pvhModule](info.moduleList)
		p.modules = span{m.addr, m.addr + m.size}
		p.free = larger(span{p.image.end, abi.PageDown(m.addr)}, span{abi.PageUp(m.addr + m.size), p.ram})
	}
	if info.cmdline == 0 {
		return ""
	}
	end := info.cmdline
	for end < min(p.ram, doorWindow) && end-info.cmdline <= abi.CmdlineMax && *at[byte](end) != 0 {
		end++
	}
	return p.setCmdline(span{info.cmdline, end})
}
