package task

import "kapsel/guest/abi"

// Numbers of the console driver.
const (
	consoleWrite = 1 // command, read-only allow and subscribe number
)

// Print writes text to the console and waits until it is sent.
func Print(text string) {
	out = append(out[:0], text...)
	Write(out)
}

// out holds what Print sends: constants cannot be shared from a string without a copy. It has room for a line without the
// heap, so that one can be printed when that is used up.
var (
	out  = line[:0]
	line [256]byte
)

// Write writes bytes to the console and waits until they are sent.
func Write(b []byte) {
	if AllowReadOnly(abi.DriverConsole, consoleWrite, b) != nil {
		return
	}
	if Command(abi.DriverConsole, consoleWrite, uint32(len(b)), 0).Err() == nil {
		WaitFor(abi.DriverConsole, consoleWrite)
	}
	AllowReadOnly(abi.DriverConsole, consoleWrite, nil)
}

// Decimal returns v in decimal.
func Decimal(v uint64) string {
	var digits [20]byte
	return string(decimal(&digits, v))
}

// decimal writes v in decimal to the end of digits.
func decimal(digits *[20]byte, v uint64) []byte {
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + v%10)
		if v /= 10; v == 0 {
			return digits[i:]
		}
	}
}

// Hex returns v in hexadecimal, after 0x.
func Hex(v uint64) string {
	var digits [18]byte
	i := len(digits)
	for {
		i--
		digits[i] = "0123456789abcdef"[v&15]
		if v >>= 4; v == 0 {
			return "0x" + string(digits[i:])
		}
	}
}
