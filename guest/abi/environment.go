package abi

// Arguments and environment of tasks are what a padding object of the Tock Binary Format holds, an object without a program, which every loader
// passes over. It is the first of the objects that the monitor adds. Behind the 16 bytes of its header it has
//
//	 0  u64  EnvironmentMagic
//	 8  u32  bytes of the arguments
//	12  u32  bytes of the environment
//	16       the arguments, then the environment: strings, each with a zero byte behind it
//
// All words are little-endian. A string of the environment is NAME=VALUE.
const (
	EnvironmentMagic  = 0x31_76_6e_45_70_61_4b_00 // "\0KapEnv1"
	EnvironmentHeader = 16
	// EnvironmentMax is how many bytes arguments and environment have together, with the zero bytes.
	EnvironmentMax = 64 << 10
)

// EnvironmentPiece is how many bytes one command of the driver hands over at most: as much as a task may have copied at once.
const EnvironmentPiece = PageSize

// PortEnd is the port by which the host asks the tasks to end. It sends EndAsk, and the kernel answers with EndNobody if no task wants to be told,
// else with EndTold: then the machine ends when all tasks have ended that were told. Other bytes mean nothing.
const (
	PortEnd   = "org.kapsel.end"
	EndAsk    = 1
	EndNobody = 0
	EndTold   = 1
)

// Where the header of a padding object has what FindEnvironment looks at: its version, its own length, and the object's.
const (
	paddingHeader  = 16
	paddingVersion = 2 | paddingHeader<<16
)

// FindEnvironment finds arguments and environment, where objects, back to back, begin with the object that holds them; it reports false where they do not.
// Nothing is taken for granted of the bytes. Of the strings it looks at the last one's zero byte alone.
func FindEnvironment(objects []byte) (arguments, environment []byte, ok bool) {
	if len(objects) < paddingHeader+EnvironmentHeader || word32(objects) != paddingVersion {
		return nil, nil, false
	}
	size := uint64(word32(objects[4:]))
	body := objects[paddingHeader:]
	if uint64(word32(body))|uint64(word32(body[4:]))<<32 != EnvironmentMagic || size > uint64(len(objects)) {
		return nil, nil, false
	}
	first, second := uint64(word32(body[8:])), uint64(word32(body[12:]))
	if first+second > EnvironmentMax || first+second+paddingHeader+EnvironmentHeader > size {
		return nil, nil, false
	}
	strings := body[EnvironmentHeader:]
	arguments, environment = strings[:first], strings[first:][:second]
	if !endsWithZero(arguments) || !endsWithZero(environment) {
		return nil, nil, false
	}
	return arguments, environment, true
}

// endsWithZero reports whether the last of some strings, if there is one, has its zero byte.
func endsWithZero(strings []byte) bool { return len(strings) == 0 || strings[len(strings)-1] == 0 }

func word32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
