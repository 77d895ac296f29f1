package kernel

import "kapsel/guest/abi"

// Memory is a task's memory: the bytes behind its addresses, and which of them the task
// may use. All ranges are half-open. Always:
//
//	ramStart <= appBreak < kernelBreak <= ramStart+len(ram)
//	ramStart <= highWater <= appBreak
//
// The hardware lets the task at whole pages, so the page that holds the app break ends at
// or below kernelBreak, above which the grants lie.
type Memory struct {
	flashStart uint64 // page aligned
	flash      []byte // whole pages
	flashSize  uint64 // bytes of the object, at most len(flash)
	protected  uint64 // bytes at the start of flash that the task may not share

	ramStart    uint64 // page aligned
	ram         []byte // whole pages
	appBreak    uint64
	kernelBreak uint64
	highWater   uint64 // highest end of a buffer that the task ever shared
}

// WriteU64 writes a little-endian word to the task's RAM below its break. It reports
// false, writing nothing, if any of the 8 bytes is not there.
//
//go:nosplit
func (m *Memory) WriteU64(addr, v uint64) bool {
	if !m.mayWrite(addr, 8) {
		return false
	}
	store64(m.ram[addr-m.ramStart:], v)
	return true
}

// WriteU32s writes little-endian words to the task's RAM below its break, one behind the
// other. It reports false, writing nothing, if any of their bytes is not there.
//
//go:nosplit
func (m *Memory) WriteU32s(addr uint64, words []uint32) bool {
	b, ok := m.readWrite(addr, 4*uint64(len(words)))
	if !ok {
		return false
	}
	for i, v := range words {
		store32(b[4*i:], v)
	}
	return true
}

// Words is the four words of 32 bits at addr in the task's RAM below its break, or nil if any of
// their bytes is not there. They are good until the break or the task's mappings change.
//
//go:nosplit
func (m *Memory) Words(addr uint64) *[4]uint32 {
	if !m.mayWrite(addr, 16) {
		return nil
	}
	return words((*[16]byte)(m.ram[addr-m.ramStart:]))
}

// ReadU32 reads a little-endian word of the task's RAM below its break. It is 0 if any of
// the 4 bytes is not there.
func (m *Memory) ReadU32(addr uint64) uint32 {
	b, ok := m.readWrite(addr, 4)
	if !ok {
		return 0
	}
	return load32(b)
}

// WriteU8 writes a byte to the task's RAM below its break. It reports false if addr is
// not there.
func (m *Memory) WriteU8(addr uint64, v uint8) bool {
	at := addr - m.ramStart // beyond every break if addr is below
	if at >= m.appBreak-m.ramStart {
		return false
	}
	m.ram[at] = v
	return true
}

// mayWrite reports whether all of the n bytes at addr are RAM below the break.
func (m *Memory) mayWrite(addr, n uint64) bool { return within(addr, n, m.ramStart, m.appBreak) }

// readWrite is the n bytes at addr if all of them are RAM below the break.
func (m *Memory) readWrite(addr, n uint64) ([]byte, bool) {
	if !m.mayWrite(addr, n) {
		return nil, false
	}
	at := addr - m.ramStart
	return m.ram[at : at+n], true
}

// readOnly is the n bytes at addr if all of them are RAM below the break, or all are
// flash behind the protected region.
func (m *Memory) readOnly(addr, n uint64) ([]byte, bool) {
	if within(addr, n, m.flashStart+m.protected, m.flashStart+m.flashSize) {
		at := addr - m.flashStart
		return m.flash[at : at+n], true
	}
	return m.readWrite(addr, n)
}

// within reports whether [addr, addr+n) lies in [start, end). start <= end.
func within(addr, n, start, end uint64) bool {
	at, size := addr-start, end-start // at is beyond every size if addr is below start
	return at <= size && n <= size-at
}

// keepShared makes the break stay above a buffer in RAM that the task shared.
func (m *Memory) keepShared(addr, n uint64) {
	if n != 0 && within(addr, n, m.ramStart, m.appBreak) {
		m.highWater = max(m.highWater, addr+n)
	}
}

// mayBreak reports whether the break may be at addr: no shared buffer would be outside, nor
// would it meet the grants.
func (m *Memory) mayBreak(addr uint64) bool {
	return addr >= m.highWater && addr < m.kernelBreak && abi.PageUp(addr) <= m.kernelBreak
}

// setBreak moves the app break to where it may be and zeroes what it newly exposes, to the end
// of the page that the hardware lets the task at.
func (m *Memory) setBreak(addr uint64) {
	if addr > m.appBreak {
		clear(m.ram[m.appBreak-m.ramStart : abi.PageUp(addr)-m.ramStart])
	}
	m.appBreak = addr
}

// mappedEnd is the end of the pages of RAM that the task may use.
func (m *Memory) mappedEnd() uint64 { return abi.PageUp(m.appBreak) }

// ramEnd is the first address above RAM.
func (m *Memory) ramEnd() uint64 { return m.ramStart + uint64(len(m.ram)) }

// allocateGrant takes size zeroed bytes from the top of free RAM, or returns nil if they
// would meet the pages of the task.
func (m *Memory) allocateGrant(size int) []byte {
	need := (uint64(size) + 7) &^ 7
	if need >= m.kernelBreak-m.appBreak || m.kernelBreak-need < m.mappedEnd() {
		return nil
	}
	m.kernelBreak -= need
	block := m.ram[m.kernelBreak-m.ramStart:][:size]
	clear(block)
	return block
}

// reset frees all RAM. What is in it is zeroed when it is used again.
func (m *Memory) reset() {
	m.appBreak = m.ramStart
	m.highWater = m.ramStart
	m.kernelBreak = m.ramEnd()
}

// The next four go through a pointer to an array. The kernel is compiled with -spectre=index, by
// which each index of a slice is masked on its own, so that the compiler would not join the bytes.

// load32 reads a little-endian word; the compiler makes it one load.
func load32(slice []byte) uint32 {
	b := (*[4]byte)(slice)
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// store32 writes a little-endian word; the compiler makes it one store.
func store32(slice []byte, v uint32) {
	b := (*[4]byte)(slice)
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

// load64 reads a little-endian word; the compiler makes it one load.
func load64(slice []byte) uint64 {
	b := (*[8]byte)(slice)
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// store64 writes a little-endian word; the compiler makes it one store.
func store64(slice []byte, v uint64) {
	b := (*[8]byte)(slice)
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
	b[4], b[5], b[6], b[7] = byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56)
}
