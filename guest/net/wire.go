package net

// Numbers in network order. Who calls has checked that they are there.

func get16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

func get32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func put16(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }

func put32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}

// getAddress returns the IPv4 address at the beginning of b; getHardware that of Ethernet.
func getAddress(b []byte) Address { return Address{b[0], b[1], b[2], b[3]} }

func getHardware(b []byte) HardwareAddress {
	return HardwareAddress{b[0], b[1], b[2], b[3], b[4], b[5]}
}
