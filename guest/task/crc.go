package task

import "kapsel/guest/abi"

// Numbers of the CRC driver.
const (
	crcBuffer   = 0 // read-only allow
	crcCompute  = 1 // command
	crcComputed = 0 // subscribe
)

// CRC32 returns the CRC-32 of b, that of Ethernet. The error is abi.SIZE if b is empty or has 4 GiB or more; so with the next two.
func CRC32(b []byte) (uint32, error) { return crc(0, b) }

// CRC32C returns the CRC-32C of b, that of iSCSI.
func CRC32C(b []byte) (uint32, error) { return crc(1, b) }

// CRC16 returns the CRC-16 of b by the polynomial 0x1021, as Tock has it.
func CRC16(b []byte) (uint16, error) {
	sum, err := crc(2, b)
	return uint16(sum), err
}

func crc(algorithm uint32, b []byte) (uint32, error) {
	if uint64(len(b)) >= 1<<32 {
		return 0, abi.SIZE
	}
	if err := AllowReadOnly(abi.DriverCRC, crcBuffer, b); err != nil {
		return 0, err
	}
	err := Command(abi.DriverCRC, crcCompute, algorithm, uint32(len(b))).Err()
	var sum uint32
	if err == nil {
		var status uint32
		status, sum, _ = WaitFor(abi.DriverCRC, crcComputed)
		err = failed(status)
	}
	AllowReadOnly(abi.DriverCRC, crcBuffer, nil)
	return sum, err
}
