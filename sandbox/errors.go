package sandbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kapsel/guest/abi"
)

// Kinds of errors, for errors.Is. Those of the first group leave a sandbox as whole as it was.
var (
	// ErrClosed: the sandbox is closed, perhaps by another goroutine meanwhile.
	ErrClosed = errors.New("the sandbox is closed")
	// ErrPoisoned: an earlier call did not end well, and Cause says how. Reset the sandbox, or close it.
	ErrPoisoned = errors.New("an earlier call was cut off: Reset the sandbox, or close it")
	// ErrNoService: no task serves under this name. A task that serves does so under its package name.
	ErrNoService = errors.New("no task serves under this name")
	// ErrTooLarge: the request or the answer is longer than Config.Payload, or than the buffer of the task.
	ErrTooLarge = errors.New("the request or the answer is too large")
	// ErrDepth: as many calls as can be are open within each other, abi.ServiceDepth with those of the guest's.
	ErrDepth = errors.New("too many calls within each other")
	// ErrAnswer: the task, or the kernel in its place, answered with an error, which is Code; BUSY if the task is not ready for a call.
	ErrAnswer = errors.New("the task answered with an error")
	// ErrWithin: this cannot be done by a handler, in the middle of a call.
	ErrWithin = errors.New("not within a call")

	// ErrTime: the time of the call, or its context, ended before it did. Cause is the context's, if it was that. If the call had not begun,
	// because others had their turn, the sandbox is as it was; else it is poisoned. Poisoned tells.
	ErrTime = errors.New("out of time")
)

// The kinds that leave the sandbox poisoned: Reset makes it whole.
var (
	// ErrFault: the task faulted. Console has what the kernel said of it.
	ErrFault = errors.New("the task faulted")
	// ErrMemory: the task used its memory up.
	ErrMemory = errors.New("the task is out of memory")
	// ErrEnded: the task, or the machine with it, ended before it answered.
	ErrEnded = errors.New("the task ended")
	// ErrOutput: the guest printed more than Config.OutputLimit.
	ErrOutput = errors.New("too much output")
	// ErrCalls: the guest called services of the host's more than Config.Calls times.
	ErrCalls = errors.New("too many calls of host services")
	// ErrHandler: a handler of the host's panicked, or ended its goroutine. Cause is a *PanicError.
	ErrHandler = errors.New("a handler of the host's failed")
	// ErrProtocol: the kernel in the guest broke the protocol of services.
	ErrProtocol = errors.New("the guest broke the protocol")
	// ErrReset: the sandbox could not be reset. Close it.
	ErrReset = errors.New("the sandbox cannot be reset: close it")
)

// Error is the error of a call, a start, a snapshot or a reset. errors.Is finds Kind, Code and Cause in it.
type Error struct {
	Service string        // that was called; "" if none was
	Kind    error         // ErrTime, ErrFault, ...
	Code    abi.ErrorCode // what was answered, of ErrAnswer, ErrNoService and ErrTooLarge; else 0
	Cause   error         // what is behind it, or nil
	// Console is the last of what the guest printed since the call began, 2 KiB at the most.
	Console string
	// Poisoned is whether the sandbox must be reset, or closed.
	Poisoned bool
}

// Error returns what failed, and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("sandbox: ")
	if e.Service != "" {
		fmt.Fprintf(&b, "call of %q: ", e.Service)
	}
	b.WriteString(e.Kind.Error())
	if e.Code != abi.OK {
		fmt.Fprintf(&b, " (%v)", e.Code)
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	if e.Poisoned && e.Kind != ErrPoisoned && e.Kind != ErrReset {
		b.WriteString("; Reset the sandbox before the next call")
	}
	if e.Console != "" && e.Kind != ErrOutput {
		b.WriteString("; the console ends with " + strconv.Quote(lastLines(e.Console)))
	}
	return b.String()
}

// lastLines is what an error has room for.
func lastLines(text string) string {
	const room = 400
	text = strings.TrimSpace(text)
	if len(text) > room {
		text = text[len(text)-room:]
		if _, line, ok := strings.Cut(text, "\n"); ok {
			text = line
		}
	}
	return text
}

// Plain returns the error without the advice to Reset, for where that is done anyway.
func (e *Error) Plain() *Error {
	plain := *e
	plain.Poisoned = false
	return &plain
}

// Unwrap returns the kind, the code and the cause.
func (e *Error) Unwrap() []error {
	all := []error{e.Kind}
	if e.Code != abi.OK {
		all = append(all, e.Code)
	}
	if e.Cause != nil {
		all = append(all, e.Cause)
	}
	return all
}

// PanicError is what became of a handler that did not return.
type PanicError struct {
	Service string
	Value   any    // what it panicked with; nil if it ended its goroutine, as runtime.Goexit and testing.T.FailNow do
	Stack   []byte // of its goroutine, as debug.Stack has it
}

// Error returns the panic without the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return fmt.Sprintf("the handler of %q ended its goroutine", e.Service)
	}
	return fmt.Sprintf("the handler of %q panicked: %v", e.Service, e.Value)
}

// Unwrap returns Value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
