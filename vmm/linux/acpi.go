package linux

import (
	"encoding/binary"
	"fmt"

	"kapsel/guest/abi"
	"kapsel/vmm/device"
)

// I/O ports of the power device, device.Power, as the FADT names them.
const PortPower = 0x600

// MaxDevices is how many virtio-mmio devices a machine can have.
const MaxDevices = device.Pins

// Device is a virtio-mmio device as the ACPI tables tell of it.
type Device struct {
	Base, Size uint32 // physical addresses, in the MMIO hole
	IRQ        int    // its pin at the I/O APIC, edge-triggered
}

// checkDevices says in words what is wrong with a list of devices; nil if nothing is.
func checkDevices(devices []Device) error {
	if len(devices) > MaxDevices {
		return fmt.Errorf("%d virtio devices, %d are possible", len(devices), MaxDevices)
	}
	for i, d := range devices {
		switch {
		case d.Base < abi.MMIOHole || d.Size == 0 || uint64(d.Base)+uint64(d.Size) > abi.IOAPICBase:
			return fmt.Errorf("virtio device %d: %#x bytes at %#x, want addresses from %#x to %#x", i, d.Size, d.Base, abi.MMIOHole, abi.IOAPICBase)
		case d.IRQ < 0 || d.IRQ >= device.Pins || d.IRQ == abi.IRQCOM1:
			return fmt.Errorf("virtio device %d: interrupt %d, want 0 to %d and not the UART's %d", i, d.IRQ, device.Pins-1, abi.IRQCOM1)
		}
	}
	return nil
}

// What all tables begin with (ACPI 6.5, section 5.2.6), and whose they are.
const (
	headerSize   = 36
	offLength    = 4
	offChecksum  = 9
	oemID        = "KAPSEL"
	oemTableID   = "KAPSEL  "
	creatorID    = "KPSL"
	tableVersion = 1
	tableAlign   = 16
)

// table makes a table of its content, which lies behind the header.
func table(signature string, revision byte, content []byte) []byte {
	t := make([]byte, 0, headerSize+len(content))
	t = append(t, signature...)
	t = little.AppendUint32(t, uint32(headerSize+len(content)))
	t = append(t, revision, 0)
	t = append(t, oemID+oemTableID...)
	t = little.AppendUint32(t, tableVersion)
	t = append(t, creatorID...)
	t = little.AppendUint32(t, tableVersion)
	t = append(t, content...)
	t[offChecksum] = checksum(t)
	return t
}

// checksum is the byte that makes the sum of all bytes 0.
func checksum(b []byte) (sum byte) {
	for _, v := range b {
		sum -= v
	}
	return sum
}

// placeACPI writes the tables to memory, which lies at acpiAddress, and returns the bytes it wrote.
func placeACPI(memory []byte, devices []Device) (written int) {
	at := alignTable(rsdpSize)
	put := func(t []byte) (address uint64) {
		address = acpiAddress + uint64(at)
		written += copy(memory[at:], t)
		at = alignTable(at + len(t))
		return address
	}
	fadt := put(fadt(put(dsdt(devices))))
	madt := put(madt())
	return written + copy(memory, rsdp(put(xsdt(fadt, madt))))
}

func alignTable(n int) int { return (n + tableAlign - 1) &^ (tableAlign - 1) }

// The root pointer (ACPI 6.5, section 5.2.5.3). Its first 20 bytes have a checksum of their own.
const (
	rsdpSize     = 36
	rsdpOldSize  = 20
	rsdpRevision = 2
	offExtended  = 32 // checksum of all
)

func rsdp(xsdt uint64) []byte {
	r := append([]byte("RSD PTR "), 0)
	r = append(r, oemID...)
	r = append(r, rsdpRevision, 0, 0, 0, 0)
	r = little.AppendUint32(r, rsdpSize)
	r = little.AppendUint64(r, xsdt)
	r = append(r, 0, 0, 0, 0)
	r[8] = checksum(r[:rsdpOldSize])
	r[offExtended] = checksum(r)
	return r
}

// xsdt lists the tables (ACPI 6.5, section 5.2.8).
func xsdt(tables ...uint64) []byte {
	var list []byte
	for _, address := range tables {
		list = little.AppendUint64(list, address)
	}
	return table("XSDT", 1, list)
}

// The fixed description (ACPI 6.5, section 5.2.9, table 5.9): offsets of what is not 0.
const (
	fadtSize         = 276
	fadtRevision     = 6
	fadtMinor        = 5
	offBootArch      = 109 // 16 bits
	offFlags         = 112 // 32 bits
	offResetRegister = 116 // a generic address
	offResetValue    = 128
	offMinor         = 131
	offXDSDT         = 140 // 64 bits
	offSleepControl  = 244 // generic addresses
	offSleepStatus   = 256
)

// Bits of the fixed description (ACPI 6.5, tables 5.10 and 5.11). With no 8042 and no other legacy
// device named, the kernel looks for none.
const (
	bootArchNoVGA    = 1 << 2
	bootArchNoMSI    = 1 << 3
	bootArchNoRTC    = 1 << 5
	fadtWBINVD       = 1 << 0
	fadtNoPower      = 1 << 4 // power button: none of the fixed hardware
	fadtNoSleep      = 1 << 5 // sleep button: likewise
	fadtReset        = 1 << 10
	fadtHardwareLess = 1 << 20 // HW_REDUCED_ACPI
)

// fadt names the power device's registers and says that there is no hardware that ACPI would fix.
func fadt(dsdt uint64) []byte {
	t := make([]byte, fadtSize)
	little.PutUint16(t[offBootArch:], bootArchNoVGA|bootArchNoMSI|bootArchNoRTC)
	little.PutUint32(t[offFlags:], fadtWBINVD|fadtNoPower|fadtNoSleep|fadtReset|fadtHardwareLess)
	copy(t[offResetRegister:], portAddress(PortPower+device.PowerReset))
	t[offResetValue] = device.ResetValue
	t[offMinor] = fadtMinor
	little.PutUint64(t[offXDSDT:], dsdt)
	copy(t[offSleepControl:], portAddress(PortPower+device.PowerSleepControl))
	copy(t[offSleepStatus:], portAddress(PortPower+device.PowerSleepStatus))
	return table("FACP", fadtRevision, t[headerSize:])
}

// portAddress is a generic address: an I/O port of 8 bits (ACPI 6.5, section 5.2.3.2).
func portAddress(port uint16) []byte {
	const systemIO, bits, byteAccess = 1, 8, 1
	return binary.LittleEndian.AppendUint64([]byte{systemIO, bits, 0, byteAccess}, uint64(port))
}

// madt names the interrupt controllers: the processor's local APIC and the I/O APIC (ACPI 6.5, section
// 5.2.12). There is no 8259, and pin n of the I/O APIC is interrupt n.
func madt() []byte {
	const localAPIC, ioAPIC, enabled = 0, 1, 1
	t := little.AppendUint32(nil, lapicBase)
	t = little.AppendUint32(t, 0) // flags
	t = append(t, localAPIC, 8, 0, 0)
	t = little.AppendUint32(t, enabled)
	t = append(t, ioAPIC, 12, 0, 0)
	t = little.AppendUint32(t, abi.IOAPICBase)
	t = little.AppendUint32(t, 0) // its first interrupt
	return table("APIC", 5, t)
}

// lapicBase is where a local APIC is after reset (Intel SDM vol. 3, section 11.4.1).
const lapicBase = 0xfee0_0000

// dsdt describes the devices that the kernel cannot find by itself: the UART, and virtio-mmio devices by the
// name that Linux knows, LNRO0005; and how to power off.
func dsdt(devices []Device) []byte {
	bus := deviceNode("COM1",
		name("_HID", eisaID("PNP0501")),
		name("_UID", integer(0)),
		name("_CRS", resources(ports(abi.PortCOM1, 8), interrupt(abi.IRQCOM1))),
	)
	for i, d := range devices {
		bus = append(bus, deviceNode(fmt.Sprintf("VR%02d", i),
			name("_HID", text("LNRO0005")),
			name("_UID", integer(uint64(i))),
			name("_CCA", integer(1)), // its accesses to memory are coherent with the processor's caches
			name("_CRS", resources(memory32(d.Base, d.Size), interrupt(d.IRQ))),
		)...)
	}
	content := scope("_SB_", bus)
	content = append(content, name("_S5_", packageOf(integer(device.SleepS5)))...)
	return table("DSDT", 2, content)
}
