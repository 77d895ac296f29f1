package linux

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
)

// bzImage makes a kernel of 4 KiB behind one sector of real-mode code, with change applied to the file.
func bzImage(change func(file []byte)) []byte {
	const code, header = 4096, 2 * sectorSize
	file := make([]byte, header+code)
	for i := range code {
		file[header+i] = byte(i)
	}
	file[offSetupSects] = 1
	little.PutUint32(file[offSysSize:], code/sysSizeUnit)
	little.PutUint16(file[offBootFlag:], bootFlag)
	file[offHeaderLength] = leastHeaderEnd - offMagic
	copy(file[offMagic:], magic)
	little.PutUint16(file[offVersion:], 0x020f)
	file[offLoadFlags] = 0x80
	little.PutUint32(file[offInitrdMax:], 0x7fff_ffff)
	little.PutUint16(file[offXLoadFlags:], kernel64)
	little.PutUint32(file[offCmdlineSize:], 2047)
	little.PutUint64(file[offPrefAddress:], 16<<20)
	little.PutUint32(file[offInitSize:], 8<<20)
	change(file)
	return file
}

func unchanged([]byte) {}

func TestParse(t *testing.T) {
	k, err := Parse(bzImage(unchanged))
	require.NoError(t, err)
	assert.EqualValues(t, 16<<20, k.address)
	assert.EqualValues(t, 8<<20, k.size)
	assert.EqualValues(t, 2047, k.cmdlineMax)
	assert.EqualValues(t, 1<<31, k.initrdEnd)
	assert.Len(t, k.code, 4096)
	assert.Len(t, k.header, leastHeaderEnd-offSetupSects)
}

func TestParseRefuses(t *testing.T) {
	put := func(offset int, b ...byte) func([]byte) { return func(file []byte) { copy(file[offset:], b) } }
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "the file is empty"},
		{"an ELF file", []byte("\x7fELF and more"), "an ELF file, not a bzImage"},
		{"text", bytes.Repeat([]byte("text"), 1000), "not a bzImage"},
		{"a header cut off", bzImage(unchanged)[:leastHeaderEnd-1], "not a bzImage"},
		{"no boot flag", bzImage(put(offBootFlag, 0)), "not a bzImage"},
		{"no magic", bzImage(put(offMagic, 'h')), "not a bzImage"},
		{"an old protocol", bzImage(put(offVersion, 0x0b, 0x02)), "version 2.11 of Linux's boot protocol, 2.12"},
		{"no 64-bit entry", bzImage(put(offXLoadFlags, 0)), "without a 64-bit entry"},
		{"a short header", bzImage(put(offHeaderLength, 0x10)), "the setup header ends at 0x212"},
		{"a long header", bzImage(put(offHeaderLength, 0xff)), "the setup header ends at 0x301"},
		{"no code", bzImage(unchanged)[:2*sectorSize], "truncated"},
		{"half of the code", bzImage(unchanged)[:2*sectorSize+2048], "truncated: the header tells of 4096 bytes"},
		{"real-mode code beyond the file", bzImage(put(offSetupSects, 0xff)), "truncated"},
		{"less code than before the entry", bzImage(put(offSysSize, entryOffset/sysSizeUnit)), "truncated"},
		{"the most code there is", bzImage(put(offSysSize, 0xff, 0xff, 0xff, 0xff)), "truncated"},
		{"loaded below 1 MiB", bzImage(put(offPrefAddress, 0, 0, 0, 0)), "wants to be loaded at 0x0"},
		{"loaded high", bzImage(put(offPrefAddress, 0, 0, 0, 0x40)), "beyond the 1024 MiB"},
		{"loaded at the end of all addresses", bzImage(put(offPrefAddress, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)), "beyond the 1024 MiB"},
		{"a size that is too large", bzImage(put(offInitSize, 0xff, 0xff, 0xff, 0xff)), "beyond the 1024 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.file)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestOpenNamesTheFile(t *testing.T) {
	_, err := Open(t.Context(), "/nonexistent/vmlinuz")
	assert.ErrorContains(t, err, `"/nonexistent/vmlinuz"`)
	_, err = Open(t.Context(), "kernel_test.go")
	assert.ErrorContains(t, err, `"kernel_test.go": not a bzImage`)
}

func TestPlace(t *testing.T) {
	k, err := Parse(bzImage(unchanged))
	require.NoError(t, err)
	ram := make([]byte, 32<<20)
	initrd := bytes.Repeat([]byte{0xa5}, 5000)
	e, err := k.Place(ram, Params{RAMHigh: 1 << 30, Cmdline: "console=ttyS0", Initrd: initrd})
	require.NoError(t, err)

	assert.Equal(t, k.code, ram[16<<20:16<<20+4096])
	assert.EqualValues(t, 16<<20+0x200, e.RIP)
	assert.Equal(t, "console=ttyS0\x00", string(ram[cmdlineAddress:cmdlineAddress+14]))

	zero := ram[e.RSI : e.RSI+abi.PageSize]
	assert.Equal(t, magic, string(zero[offMagic:offMagic+4]))
	assert.EqualValues(t, 0xff, zero[offLoader])
	assert.EqualValues(t, 0x81, zero[offLoadFlags], "the header's, and LOADED_HIGH")
	assert.EqualValues(t, cmdlineAddress, little.Uint32(zero[offCmdline:]))
	assert.EqualValues(t, 5000, little.Uint32(zero[offRamdiskSize:]))
	assert.EqualValues(t, 32<<20-8192, little.Uint32(zero[offRamdiskImage:]), "as high as possible, on a page")
	assert.Equal(t, initrd, ram[32<<20-8192:32<<20-8192+5000])
	assert.Equal(t, "RSD PTR ", string(ram[little.Uint64(zero[offRSDP:]):][:8]))
	assert.Equal(t, []memoryRange{
		{0, lowMemoryEnd, rangeRAM},
		{acpiAddress, 0x20000, rangeReserved},
		{1 << 20, 31 << 20, rangeRAM},
		{4 << 30, 1 << 30, rangeRAM},
	}, e820(zero))

	assert.EqualValues(t, codeDescriptor, little.Uint64(ram[e.GDT+SelectorCode:]))
	assert.EqualValues(t, dataDescriptor, little.Uint64(ram[e.GDT+SelectorData:]))
	assert.Greater(t, int(e.GDTLimit), SelectorData)
	for _, address := range []uint64{0, zeroPage, cmdlineAddress, e.RIP, 16<<20 + k.size - 1, Window - 1} {
		assert.Equal(t, address, translate(t, ram, e.CR3, address))
	}
}

// e820 reads the memory map of a zero page.
func e820(zero []byte) (ranges []memoryRange) {
	for i := range int(zero[offE820Count]) {
		entry := zero[offE820+i*e820Size:]
		ranges = append(ranges, memoryRange{little.Uint64(entry), little.Uint64(entry[8:]), little.Uint32(entry[16:])})
	}
	return ranges
}

// translate walks the page tables, which end in pages of 2 MiB.
func translate(t *testing.T, ram []byte, table, virtual uint64) uint64 {
	for shift := 39; ; shift -= 9 {
		entry := little.Uint64(ram[table+8*(virtual>>shift&0x1ff):])
		require.EqualValues(t, present|writable, entry&(present|writable), "%#x", virtual)
		table = entry &^ 0xfff
		if entry&largePage != 0 {
			require.Equal(t, 21, shift)
			return table | virtual&(1<<21-1)
		}
	}
}

func TestNoInitrd(t *testing.T) {
	k, err := Parse(bzImage(func(file []byte) { little.PutUint32(file[offRamdiskImage:], 7) }))
	require.NoError(t, err)
	ram := make([]byte, 24<<20)
	_, err = k.Place(ram, Params{})
	require.NoError(t, err)
	assert.Zero(t, little.Uint64(ram[zeroPage+offRamdiskImage:]), "address and size, whatever the file has there")
	assert.Len(t, e820(ram[zeroPage:]), 3)
}

func TestFits(t *testing.T) {
	k, err := Parse(bzImage(unchanged))
	require.NoError(t, err)
	for _, tt := range []struct {
		name string
		ram  uint64
		p    Params
		want string // "" if it fits
	}{
		{"just", 24 << 20, Params{}, ""},
		{"a page less", 24<<20 - abi.PageSize, Params{}, "the kernel needs at least 24 MiB of memory, 23 MiB given"},
		{"hardly any memory", abi.PageSize, Params{}, "needs at least 24 MiB"},
		{"just, with an initial file system", 25 << 20, Params{Initrd: make([]byte, 1<<20)}, ""},
		{"a byte more", 25 << 20, Params{Initrd: make([]byte, 1<<20+1)}, "of 1028 KiB does not fit between the kernel, which ends at 24576 KiB, and 25600 KiB"},
		{"the longest command line", 64 << 20, Params{Cmdline: string(make([]byte, 2047))}, ""},
		{"a longer one", 64 << 20, Params{Cmdline: string(make([]byte, 2048))}, "a command line of 2048 bytes, this kernel takes 2047"},
		{"a device", 64 << 20, Params{Devices: []Device{{0xd000_0000, 4096, 5}}}, ""},
		{"a device in RAM", 64 << 20, Params{Devices: []Device{{0xbfff_f000, 4096, 5}}}, "virtio device 0: 0x1000 bytes at 0xbffff000"},
		{"a device without registers", 64 << 20, Params{Devices: []Device{{0xd000_0000, 0, 5}}}, "virtio device 0"},
		{"a device in the I/O APIC", 64 << 20, Params{Devices: []Device{{0xfebf_f000, 0x1001, 5}}}, "virtio device 0"},
		{"a device with the UART's interrupt", 64 << 20, Params{Devices: []Device{{0xd000_0000, 4096, 5}, {0xd000_1000, 4096, 4}}}, "virtio device 1: interrupt 4"},
		{"a device without an interrupt", 64 << 20, Params{Devices: []Device{{0xd000_0000, 4096, 24}}}, "interrupt 24, want 0 to 23"},
		{"many devices", 64 << 20, Params{Devices: make([]Device, MaxDevices+1)}, "25 virtio devices, 24 are possible"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := k.Fits(tt.ram, tt.p); tt.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tt.want)
			}
		})
	}
}

// FuzzParse holds what Parse takes against what Place relies on: nothing is written but in memory, and nothing
// over anything else.
func FuzzParse(f *testing.F) {
	f.Add(bzImage(unchanged))
	f.Add(bzImage(func(file []byte) { file[offSetupSects] = 0 }))
	f.Add(bzImage(func(file []byte) { little.PutUint64(file[offPrefAddress:], 1<<20) }))
	f.Add([]byte("\x7fELF"))
	const memory = 32 << 20
	ram := make([]byte, memory)
	f.Fuzz(func(t *testing.T, file []byte) {
		k, err := Parse(file)
		if err != nil {
			assert.NotContains(t, err.Error(), "\n")
			return
		}
		clear(ram)
		p := Params{Cmdline: "x", Initrd: []byte("initrd")}
		e, err := k.Place(ram, p)
		if err != nil {
			return
		}
		assert.GreaterOrEqual(t, k.address, uint64(1<<20))
		assert.Equal(t, k.code, ram[k.address:k.address+uint64(len(k.code))])
		initrd := uint64(little.Uint32(ram[zeroPage+offRamdiskImage:]))
		assert.GreaterOrEqual(t, initrd, k.address+k.size)
		assert.Equal(t, p.Initrd, ram[initrd:initrd+6])
		assert.Equal(t, e.RIP, translate(t, ram, e.CR3, e.RIP))
	})
}
