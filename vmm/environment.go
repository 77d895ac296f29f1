package vmm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
)

// CheckEnvironment says in words why Config.Arguments and Config.Environment cannot be what is given; nil if they can.
func CheckEnvironment(arguments, environment []string) error {
	size := 0
	for _, s := range slices.Concat(arguments, environment) {
		if strings.IndexByte(s, 0) >= 0 {
			return fmt.Errorf("%q: arguments and environment cannot have a zero byte within", s)
		}
		size += len(s) + 1
	}
	for _, s := range environment {
		if strings.IndexByte(s, '=') <= 0 {
			return fmt.Errorf("the environment has %q: want NAME=VALUE", s)
		}
	}
	if size > abi.EnvironmentMax {
		return fmt.Errorf("arguments and environment of %d bytes: together they have at most %d, each string with a zero byte", size, abi.EnvironmentMax)
	}
	return nil
}

// GuestModules are what the guest is handed behind the image: Modules, and in front of them the object that holds Arguments and Environment, if there are any.
func (c *Config) GuestModules() [][]byte {
	if len(c.Arguments) == 0 && len(c.Environment) == 0 {
		return c.Modules
	}
	return append([][]byte{environmentObject(c.Arguments, c.Environment)}, c.Modules...)
}

// environmentObject is the padding object of guest/abi/environment.go.
func environmentObject(arguments, environment []string) []byte {
	first, second := zeroEnded(arguments), zeroEnded(environment)
	b := make([]byte, tbf.BaseSize, tbf.BaseSize+abi.EnvironmentHeader+len(first)+len(second))
	le := binary.LittleEndian
	b = le.AppendUint64(b, abi.EnvironmentMagic)
	b = le.AppendUint32(b, uint32(len(first)))
	b = le.AppendUint32(b, uint32(len(second)))
	b = append(append(b, first...), second...)
	le.PutUint16(b[tbf.OffsetVersion:], tbf.Version)
	le.PutUint16(b[tbf.OffsetHeaderSize:], tbf.BaseSize)
	le.PutUint32(b[tbf.OffsetTotalSize:], uint32(len(b)))
	le.PutUint32(b[tbf.OffsetChecksum:], le.Uint32(b)^le.Uint32(b[4:])) // no flags
	return b
}

// zeroEnded is the strings, each with a zero byte behind it.
func zeroEnded(all []string) []byte {
	var b []byte
	for _, s := range all {
		b = append(append(b, s...), 0)
	}
	return b
}
