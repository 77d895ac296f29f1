// Package sandbox runs code that a Go program does not trust as a function call: tasks in a virtual machine of their own, under a kernel that isolates
// them from each other. There is no daemon, no cgo and no Linux in it. It needs KVM.
//
//	s, err := sandbox.Open(ctx, sandbox.Config{Services: sandbox.Services{"time": now}}, "build/bare.elf", "build/test/greeter.tbf")
//	defer s.Close()
//	reply, err := s.Call(ctx, "greeter", request) // the task of that package name answers
//
// Bytes go in, and bytes come out. Func and HandlerOf put types around them, by an encoding of the caller's choice. A task that works on a call can call
// the host's services, which are functions (Handler), and those can call tasks again, as deep as abi.ServiceDepth. Between calls
// the guest stands still.
//
// # When a call does not end well
//
// Its error is an *Error, and says what happened: errors.Is finds one of the kinds below in it. If Error.Poisoned, the guest was cut off in the
// middle of something, and the sandbox refuses further calls, with ErrPoisoned, until Reset makes it what it was when a Snapshot was taken.
//
//	ErrTime      poisons   the call's time or context ended; not poisoned if the call had not begun
//	ErrFault     poisons   the task faulted
//	ErrMemory    poisons   the task used its memory up
//	ErrEnded     poisons   the task, or the machine, ended
//	ErrOutput    poisons   the guest printed too much
//	ErrCalls     poisons   the guest called the host too often
//	ErrHandler   poisons   a handler of the host's panicked; see PanicError
//	ErrProtocol  poisons   the kernel in the guest does not keep to the protocol
//	ErrTooLarge            the request or the answer is too long
//	ErrNoService           no task serves under the name
//	ErrAnswer              the task answered with an error: an abi.ErrorCode, which errors.Is finds, too
//	ErrDepth               too many calls within each other
//	ErrWithin              not possible for a handler, in the middle of a call
//	ErrReset               a reset failed: only Close is left
//	ErrClosed              the sandbox is closed
//
// A call within a call that poisons ends all calls around it with its error, once the handlers between have returned.
//
// # Limits
//
// Config has limits for the guest's memory, for the time, the output and the calls of a call, and for the length of requests and answers. Each has a
// default. What a sandbox keeps on the host is bounded by them, whatever the guest does.
//
// # Snapshots
//
// A Snapshot is a sandbox between two calls. Reset takes a sandbox back to it, by copying the pages that were written since; Start makes another sandbox of
// it, which shares its memory; Save and Load keep it on disk. A Pool keeps sandboxes warm and resets those that are given back.
//
// What the guest can and cannot do to the program is in docs/sandbox.md, how tasks are written in docs/services.md.
package sandbox
