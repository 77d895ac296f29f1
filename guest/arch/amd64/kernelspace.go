package amd64

import "kapsel/guest/abi"

// buildKernelSpace makes the final page tables of the kernel (docs/architecture.md, "Memory"):
//
//	as linked     the image: code R-X, constants R--, variables RW-, no page below the stack
//	KernelEnd     the APICs, RW-, not cached
//	DirectMap+x   all RAM but the image's pages, RW-
//
// and nothing else. The image was loaded at the physical address at; guard is the page below
// the stack, ram the bytes of RAM from 0, high what else is RAM. It reports false if no frame was
// left.
func buildKernelSpace(s *addressSpace, image *abi.ImageInfo, at, guard, ram uint64, high span) bool {
	for _, r := range [...]struct{ start, end, bits uint64 }{
		{image.Text, image.TextEnd, kernelRX},
		{image.Rodata, image.RodataEnd, kernelR},
		{image.Data, guard, kernelRW},
		{guard + abi.PageSize, image.DataEnd, kernelRW},
	} {
		if !s.mapRange(r.start, at+r.start-image.Text, abi.PageUp(r.end)-r.start, r.bits) {
			return false
		}
	}
	end := at + abi.PageUp(image.DataEnd) - image.Text
	return s.mapRange(abi.DirectMap, 0, at, kernelRW) &&
		s.mapRange(abi.DirectMap+end, end, ram-end, kernelRW) &&
		s.mapRange(abi.DirectMap+high.start, high.start, high.size(), kernelRW) &&
		s.mapRange(ioapicBase, abi.IOAPICBase, abi.PageSize, deviceRW) &&
		s.mapRange(lapicBase, abi.LAPICBase, abi.PageSize, deviceRW)
}
