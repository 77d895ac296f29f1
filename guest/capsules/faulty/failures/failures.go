// Package failures has the ways in which a capsule can fail, for tests of what then happens.
package failures

import "kapsel/guest/abi"

// Told is the message of Panic.
const Told = "told to fail"

// Fail fails in a way (abi.FaultyIndex and so on). Of those that there are not it does nothing.
func Fail(way uint32) {
	var bytes [abi.FaultyWays]byte
	var nothing *[abi.FaultyWays]uint32
	var client interface{ Call() }
	switch way {
	case abi.FaultyIndex:
		bytes[way+abi.FaultyWays]++
	case abi.FaultySlice:
		clear(bytes[way+abi.FaultyWays:])
	case abi.FaultyNil:
		nothing[way]++
	case abi.FaultyDivision:
		bytes[way/(way-abi.FaultyDivision)]++
	case abi.FaultyPanic:
		panic(Told)
	case abi.FaultyLoop:
		for n := uint32(0); ; n++ {
			bytes[n%abi.FaultyWays]++
		}
	case abi.FaultyNoClient:
		client.Call()
	}
}
