package linux

import "slices"

// ACPI Machine Language, as much as the DSDT needs (ACPI 6.5, section 20.2). Names have four
// characters.

// name is a named object.
func name(segment string, value []byte) []byte {
	return slices.Concat([]byte{0x08}, []byte(segment), value)
}

// scope opens a name that is there already.
func scope(segment string, content []byte) []byte {
	return sized([]byte{0x10}, []byte(segment), content)
}

// deviceNode is a device with its objects.
func deviceNode(segment string, objects ...[]byte) []byte {
	return sized([]byte{0x5b, 0x82}, []byte(segment), slices.Concat(objects...))
}

// packageOf is a list of values.
func packageOf(values ...[]byte) []byte {
	return sized([]byte{0x12}, []byte{byte(len(values))}, slices.Concat(values...))
}

// buffer is bytes.
func buffer(content []byte) []byte {
	return sized([]byte{0x11}, integer(uint64(len(content))), content)
}

// sized is an opcode with the length of what follows it (section 20.2.4): that length counts itself.
func sized(opcode, head, content []byte) []byte {
	n := len(head) + len(content)
	if n+1 <= 0x3f {
		return slices.Concat(opcode, []byte{byte(n + 1)}, head, content)
	}
	more := 1 // bytes behind the first, which has the low four bits
	for n+1+more >= 1<<(4+8*more) {
		more++
	}
	n += 1 + more
	length := []byte{byte(more<<6 | n&0xf)}
	for n >>= 4; more > 0; more-- {
		length = append(length, byte(n))
		n >>= 8
	}
	return slices.Concat(opcode, length, head, content)
}

// integer is a constant in as few bytes as can be (section 20.2.3).
func integer(n uint64) []byte {
	switch {
	case n <= 1:
		return []byte{byte(n)}
	case n <= 0xff:
		return []byte{0x0a, byte(n)}
	case n <= 0xffff:
		return little.AppendUint16([]byte{0x0b}, uint16(n))
	case n <= 0xffff_ffff:
		return little.AppendUint32([]byte{0x0c}, uint32(n))
	}
	return little.AppendUint64([]byte{0x0e}, n)
}

// text is a string.
func text(s string) []byte {
	return append([]byte("\x0d"+s), 0)
}

// eisaID is a name of a device as PNP0501, packed: three letters of five bits, then hexadecimal digits, in
// the order of a big-endian word (section 19.3.4, "EISAID").
func eisaID(id string) []byte {
	word := uint64(id[0]-0x40)<<26 | uint64(id[1]-0x40)<<21 | uint64(id[2]-0x40)<<16
	for i, c := range []byte(id[3:7]) {
		digit := c - '0'
		if digit > 9 {
			digit = c - 'A' + 10
		}
		word |= uint64(digit) << (12 - 4*i)
	}
	swapped := word>>24 | word>>8&0xff00 | word<<8&0xff_0000 | word<<24&0xff00_0000
	return integer(swapped)
}

// resources is what a device takes: descriptors, and the tag that ends them (section 6.4).
func resources(descriptors ...[]byte) []byte {
	return buffer(append(slices.Concat(descriptors...), 0x79, 0))
}

// ports are I/O ports, with 16 bits of their number decoded (section 6.4.2.5).
func ports(base uint16, count byte) []byte {
	d := []byte{0x47, 1}
	d = little.AppendUint16(d, base)
	d = little.AppendUint16(d, base)
	return append(d, 1, count)
}

// memory32 is a range of physical addresses for reads and writes (section 6.4.3.4).
func memory32(base, size uint32) []byte {
	d := []byte{0x86, 9, 0, 1}
	d = little.AppendUint32(d, base)
	return little.AppendUint32(d, size)
}

// interrupt is a pin of the I/O APIC: edge-triggered, active high, nobody else's (section 6.4.3.6).
func interrupt(irq int) []byte {
	const consumer, edge = 1 << 0, 1 << 1
	return little.AppendUint32([]byte{0x89, 6, 0, consumer | edge, 1}, uint32(irq))
}
