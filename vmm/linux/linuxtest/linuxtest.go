// Package linuxtest makes Linux kernels of a few instructions for tests.
package linuxtest

import "encoding/binary"

// Kernel makes a bzImage of less than 3 KiB of code, which is entered as a Linux kernel is, at 16 MiB (Linux,
// Documentation/arch/x86/boot.rst).
func Kernel(code []byte) []byte {
	const realMode, entryOffset, size = 1024, 0x200, 4096
	file := make([]byte, realMode+size)
	copy(file[realMode+entryOffset:], code)
	little := binary.LittleEndian
	file[0x1f1] = 1                             // setup_sects
	little.PutUint32(file[0x1f4:], size/16)     // syssize
	little.PutUint16(file[0x1fe:], 0xaa55)      // boot_flag
	copy(file[0x200:], "\xeb\x66HdrS\x0f\x02")  // jump, header, version
	little.PutUint32(file[0x22c:], 0x7fff_ffff) // initrd_addr_max
	little.PutUint16(file[0x236:], 1)           // xloadflags
	little.PutUint32(file[0x238:], 2047)        // cmdline_size
	little.PutUint64(file[0x258:], 16<<20)      // pref_address
	little.PutUint32(file[0x260:], size)        // init_size
	return file
}
