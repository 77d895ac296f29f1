package amd64

import "kapsel/guest/abi"

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

// larger returns the larger of two spans; one that ends before it starts counts as empty.
func larger(a, b span) span {
	if b.start < b.end && (a.start >= a.end || b.size() > a.size()) {
		return b
	}
	return a
}
