//go:build kapsel_task

// Command conformance shows that the kernel behaves as docs/abi.md says: one behaviour in
// each task. Which one a task shows is in its name, "behaviour" and two digits, behind
// which a letter may tell the part that it has in it: tests/conformance renames copies
// of the object.
//
// A task tells what it wanted and what it found where they differ, and ends with code 1;
// else it says that its behaviour is ok and ends with code 0.
package main

//kapsel:flash 4096

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/task"
)

// behaviours by number; those without a function need none of this task.
var behaviours = [...]func(){
	1:  presence,
	2:  unknownNumbers,
	3:  subscribeReturnsThePairBefore,
	4:  badFunction,
	5:  resubscribing,
	6:  upcallArguments,
	7:  allowReturnsThePairBefore,
	8:  allowOfFlash,
	9:  emptyBuffers,
	10: buffersOutside,
	11: overlappingBuffers,
	12: separateSlots,
	13: breakStaysAboveBuffers,
	14: movedBreak,
	15: memoryOperations,
	16: yieldNoWait,
	17: yieldWait,
	18: yieldWaitFor,
	19: waitForLeavesOthers,
	20: fullQueue,
	21: nestedYields,
	22: faults,
	23: exits,
	24: spins,
	25: isStopped,
	26: grants,
	27: permissions,
	28: alarmAndConsole,
	29: registers,
	30: interprocess,
	31: takenBack,
	32: floods,
	33: beforeSubscribe,
	34: names,
}

func main() {
	number, part := identity()
	name = behaviourName(number, part)
	if number >= len(behaviours) || behaviours[number] == nil {
		fail("there is no such behaviour", 0, 0)
	} else {
		rolePart = part
		behaviours[number]()
	}
	finish()
}

// rolePart is the letter behind the number, or 0.
var rolePart byte

// identity reads the number and the letter from the package name in the task's own header.
func identity() (number int, part byte) {
	header := bytesAt(memop(abi.MemopFlashStart, 0), 1<<12)
	size := int(le16(header, tbf.OffsetHeaderSize))
	for at := tbf.BaseSize; at < size; {
		length := int(le16(header, at+2))
		if value := header[at+4 : at+4+length]; tbf.Type(le16(header, at)) == tbf.TypeName {
			return identityIn(value)
		}
		at += 4 + (length+3)&^3
	}
	return 0, 0
}

const prefix = "behaviour"

func identityIn(name []byte) (number int, part byte) {
	if len(name) < len(prefix)+2 || string(name[:len(prefix)]) != prefix {
		return 0, 0
	}
	digits := name[len(prefix):]
	if len(digits) > 2 {
		part = digits[2]
	}
	return int(digits[0]-'0')*10 + int(digits[1]-'0'), part
}

func le16(b []byte, at int) uint16 { return uint16(b[at]) | uint16(b[at+1])<<8 }

// life counts the task's lives: the first word of its writeable flash, which outlives a
// restart.
func life() *uint64 { return wordAt(memop(abi.MemopRegionStart, 0)) }

// memop is the value of a memory operation that cannot fail.
func memop(op uint32, arg uint64) uint64 {
	v, err := task.Memop(op, arg)
	if err != nil {
		fail("a memory operation failed", 0, uint64(op))
	}
	return v
}

func pointer(addr uint64) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(nil), uintptr(addr)) }

func bytesAt(addr, length uint64) []byte { return unsafe.Slice((*byte)(pointer(addr)), length) }

func wordAt(addr uint64) *uint64 { return (*uint64)(pointer(addr)) }

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
