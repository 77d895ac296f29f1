package abi

// PortService is the port on which host and tasks call each other's services (docs/decisions/0031-services-and-sandbox.md). Either side sends frames:
//
//	 0  u8   ServiceVersion
//	 1  u8   kind
//	 2  u8   status of an answer: 0, or an ErrorCode, and then without payload; else 0
//	 3  u8   bytes of the name, at most ServiceName; 0 in an answer
//	 4  u32  number of the call: its caller's choice, by which the answer is known
//	 8  u32  bytes of the payload, at most ServicePayload
//	12  u32  of a call: the most bytes of payload that the answer may have; of an answer: the reason (ServiceReason), else 0
//	16       name, then payload
//
// All words are little-endian. A frame that is none ends the conversation until the port is opened anew, because where the next one begins is not
// known.
//
// The kernel sends a payload that it cannot send at once in parts. Those have the number of the call or answer that follows with the rest of the payload:
// together they are at most ServicePayload. So no half of a payload is taken for the whole where the task ends whose it is: if an answer
// with a status follows, or a frame of another number, what came before is void. The host sends each payload in one frame.
const (
	PortService    = "org.kapsel.service"
	ServiceVersion = 1
	ServiceHeader  = 16
	ServiceName    = 63
	ServicePayload = 1 << 20
)

// Kinds of frames.
const (
	ServiceHello  = 1 // from the host, which begins with it: what was before is forgotten, and no call is open. The kernel answers with Hello; unasked, its driver was made anew
	ServiceCall   = 2 // by name: the host calls a task that serves, a task a service of the host's
	ServiceAnswer = 3 // by number
	ServiceSettle = 4 // from the host: the kernel answers with Settle when no task is ready to run
	ServicePart   = 5 // from the kernel: bytes of the payload of the call or answer that follows
)

// Reasons of an answer of the kernel's in the place of a task that did not answer, with status FAIL.
const (
	ServiceFaulted = 1 // it faulted, and was ended or restarted
	ServiceEnded   = 2 // it exited, was restarted or unloaded
	ServiceMemory  = 3 // its memory was used up
)

// ServiceHeld is how many bytes of payload the kernel keeps of one call for a task that does not take it yet. One with more, or a second one, is
// answered BUSY.
const ServiceHeld = 4096

// ServiceDepth is how many calls are open at a time, in both directions together.
const ServiceDepth = 16
