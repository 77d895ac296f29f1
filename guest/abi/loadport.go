package abi

// PortLoad is the port by which the host loads and unloads tasks while the machine runs, and looks after them (docs/devices.md, "Loading tasks"). On it
// host and kernel exchange frames: the host asks, and asks again when all of the answer has come. A frame is
//
//	0  u8   LoadVersion
//	1  u8   kind
//	2  u16  bytes of the payload, at most LoadPayload
//	4  u32  CRC-32C of the first four bytes and the payload
//	8       payload
//
// and all words are little-endian.
const (
	PortLoad    = "org.kapsel.load"
	LoadVersion = 1
	LoadHeader  = 8
	LoadPayload = 1024
)

// Kinds of what the host asks, each with its payload. An answer has LoadAnswer added, and begins with a status of one byte, 0 or an ErrorCode.
const (
	LoadHello   = 1  // nothing: what was set up by now is given up
	LoadSetUp   = 2  // u32 bytes of the object, or of a task's state
	LoadWrite   = 3  // u32 offset, bytes of that
	LoadLoad    = 4  // nothing; answer: u32 PID
	LoadUnload  = 5  // a task's name, or its PID in decimal
	LoadTasks   = 6  // nothing; answers: a row for each task, and one that is the status alone
	LoadPause   = 7  // a task's name, or its PID, as in what follows
	LoadResume  = 8  //
	LoadKill    = 9  //
	LoadSave    = 10 // the same; answers: the bytes of the task's state, and one that is the status alone
	LoadRestore = 11 // the same, of the task whose state was written; answer: u32 PID
	LoadAnswer  = 0x80
)

// A kernel whose driver was made anew says so by an answer to LoadHello with the status CANCEL, in the place of the answer that is owed, or unasked. Whether
// what was asked was done is not known; what was set up is given up.

// LoadKinds is the number of the last kind. A kernel that does not know a kind answers NOSUPPORT, so that more of them need no other LoadVersion.
const LoadKinds = LoadRestore

// A row of LoadTasks is u32 PID, u32 ShortID, u32 restarts, u8 state by Tock's numbers (driver 0x10002) or LoadPaused, and at most LoadName bytes of the name.
const (
	LoadRow    = 13
	LoadName   = 64
	LoadPaused = 6
)
