package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kapsel/guest/abi"
	"kapsel/sandbox/wire"
	"kapsel/vmm"
)

// level is something that the host asked of the guest, and waits for: a call's answer, or that the tasks have settled. Levels lie within each other, as
// handlers call the guest. All of this runs on the processor's thread. The memory is kept, so that a call allocates nothing.
type level struct {
	kind     uint8 // of the frame that is waited for
	number   uint32
	name     []byte
	ctx      context.Context
	deadline time.Time     // zero: none
	most     time.Duration // by which it came to be

	answered bool
	answer   wire.Frame
	memory   []byte // where answer lies
	request  []byte // where the call lies that a handler of this level serves
	reply    []byte // what that appends to
}

// call calls a service of the guest's.
func (s *Sandbox) call(ctx context.Context, dst []byte, name string, request []byte) ([]byte, error) {
	if err := s.mayCall(ctx, name, request); err != nil {
		return dst, err
	}
	if s.depth == 0 {
		s.calls = 0
		s.console.begin(s.config.OutputLimit)
	}
	s.count(&s.stats.Calls)
	s.number++
	l := s.push(ctx, abi.ServiceAnswer, s.config.CallTime)
	defer s.pop()
	s.open++
	defer func() { s.open-- }()
	l.number = s.number
	l.name = append(l.name[:0], name...)
	frame := wire.Frame{Kind: abi.ServiceCall, Number: l.number, Most: uint32(s.config.Payload), Name: l.name, Payload: request}
	if err := s.link.Send(frame); err != nil {
		return dst, s.poison(name, ErrProtocol, err)
	}
	if err := s.await(l); err != nil {
		return dst, err
	}
	return s.result(l, dst, name)
}

// mayCall says why a call cannot begin.
func (s *Sandbox) mayCall(ctx context.Context, name string, request []byte) error {
	if err := s.admit(ctx, name); err != nil {
		return err
	}
	switch {
	case s.broken != nil:
		return &Error{Service: name, Kind: ErrPoisoned, Cause: s.broken, Poisoned: true}
	case name == "" || len(name) > abi.ServiceName:
		return &Error{Service: name, Kind: ErrNoService, Cause: fmt.Errorf("a name of %d bytes: want 1 to %d", len(name), abi.ServiceName)}
	case len(request) > s.config.Payload:
		return &Error{Service: name, Kind: ErrTooLarge, Cause: fmt.Errorf("a request of %d bytes: Config.Payload allows %d", len(request), s.config.Payload)}
	case s.open >= abi.ServiceDepth:
		return &Error{Service: name, Kind: ErrDepth, Cause: fmt.Errorf("%d calls are open", s.open)}
	}
	return nil
}

// result makes of an answer what a call returns.
func (s *Sandbox) result(l *level, dst []byte, name string) ([]byte, error) {
	f := &l.answer
	switch {
	case f.Reason == abi.ServiceFaulted:
		return dst, s.lost(name, ErrFault)
	case f.Reason == abi.ServiceMemory:
		return dst, s.lost(name, ErrMemory)
	case f.Reason == abi.ServiceEnded:
		return dst, s.lost(name, ErrEnded)
	case f.Dropped > 0:
		return dst, &Error{Service: name, Kind: ErrTooLarge, Cause: fmt.Errorf("an answer of %d bytes: Config.Payload allows %d", f.Dropped, s.config.Payload)}
	}
	switch f.Status {
	case abi.OK:
		return append(dst, f.Payload...), nil
	case abi.NODEVICE:
		return dst, &Error{Service: name, Kind: ErrNoService, Code: f.Status}
	case abi.SIZE:
		return dst, &Error{Service: name, Kind: ErrTooLarge, Code: f.Status}
	}
	return dst, &Error{Service: name, Kind: ErrAnswer, Code: f.Status, Console: s.console.last()}
}

// lastWords is how long a guest whose task was lost may go on, so that the kernel says why.
const lastWords = 100 * time.Millisecond

// lost is what a call returns whose task is no more.
func (s *Sandbox) lost(name string, kind error) error {
	s.resting = true
	end := time.Now().Add(lastWords)
	for said := -1; said != s.console.written && s.broken == nil; { // the kernel's messages leave it a few bytes at a time
		said = s.console.written
		if err := s.settle(context.Background(), max(time.Until(end), 0)); err != nil {
			break
		}
	}
	s.resting = false
	s.broken = nil // whatever went wrong behind it, this is why
	return s.poison(name, kind, nil)
}

// settle runs the guest until no task is ready to run, and none waits for an answer of the host's that is on its way.
func (s *Sandbox) settle(ctx context.Context, most time.Duration) *Error {
	l := s.push(ctx, abi.ServiceSettle, most)
	defer s.pop()
	for calls := -1; calls != s.calls; {
		calls, l.answered = s.calls, false
		if err := s.link.Send(wire.Frame{Kind: abi.ServiceSettle}); err != nil {
			return s.poison("", ErrProtocol, err)
		}
		if err := s.await(l); err != nil {
			return err
		}
	}
	return nil
}

// push begins a level. Its time ends with that of the level around it at the latest.
func (s *Sandbox) push(ctx context.Context, kind uint8, most time.Duration) *level {
	l := &s.levels[s.depth]
	l.kind, l.ctx, l.answered, l.deadline, l.most = kind, ctx, false, time.Time{}, most
	if most != NoLimit {
		l.deadline = time.Now().Add(most)
	}
	if s.depth > 0 {
		if outer := &s.levels[s.depth-1]; !outer.deadline.IsZero() && (l.deadline.IsZero() || outer.deadline.Before(l.deadline)) {
			l.deadline, l.most = outer.deadline, outer.most
		}
	}
	s.depth++
	s.watcher.set(ctx, l.deadline)
	return l
}

// pop ends a level.
func (s *Sandbox) pop() {
	s.depth--
	s.levels[s.depth].ctx = nil
	if s.depth == 0 {
		s.console.flush()
		s.watcher.timer.Stop()
		return
	}
	outer := &s.levels[s.depth-1]
	s.watcher.set(outer.ctx, outer.deadline)
}

// await runs the guest, and serves it, until the level is answered.
func (s *Sandbox) await(l *level) *Error {
	for !l.answered {
		if err := s.check(l); err != nil {
			return err
		}
		if s.receive(l) {
			continue
		}
		if err := s.resume(l); err != nil {
			return err
		}
	}
	return s.broken // by a call within, behind the answer
}

// check says why the guest is not to go on.
func (s *Sandbox) check(l *level) *Error {
	switch {
	case s.broken != nil:
		return s.broken
	case s.isClosed():
		return s.fail(l, ErrClosed, nil)
	case s.link.Err() != nil:
		return s.fail(l, ErrProtocol, s.link.Err())
	case s.console.flooded:
		return s.fail(l, ErrOutput, nil)
	case l.ctx.Err() != nil:
		return s.fail(l, ErrTime, context.Cause(l.ctx))
	case !l.deadline.IsZero() && !time.Now().Before(l.deadline):
		return s.fail(l, ErrTime, fmt.Errorf("its limit is %v", l.most))
	}
	return nil
}

// fail poisons the sandbox for what went wrong in a level.
func (s *Sandbox) fail(l *level, kind, cause error) *Error {
	name := ""
	if l.kind == abi.ServiceAnswer {
		name = string(l.name)
	}
	return s.poison(name, kind, cause)
}

// resume runs the guest until it is paused.
func (s *Sandbox) resume(l *level) *Error {
	exit, err := s.machine.Resume()
	switch {
	case err != nil:
		return s.fail(l, ErrEnded, err)
	case exit.Reason == vmm.Paused:
		return nil
	case exit.Reason == vmm.Cancelled:
		return s.fail(l, ErrClosed, nil)
	}
	return s.fail(l, ErrEnded, errors.New(exit.String()))
}

// receive takes a frame of the guest's, and reports false if there is none.
func (s *Sandbox) receive(l *level) bool {
	f, memory, ok := s.link.Receive(l.request)
	l.request = memory
	if !ok {
		return false
	}
	switch f.Kind {
	case abi.ServiceCall:
		if !s.resting {
			s.handle(l, f)
		}
	case abi.ServiceAnswer:
		s.answered(l, f)
	case abi.ServiceSettle: // one that nobody waits for any more does no harm
		if newest := s.newest(abi.ServiceSettle, 0); newest != nil {
			newest.answered = true
		}
	case abi.ServiceHello:
		if s.up {
			s.fail(l, ErrProtocol, errors.New("its driver of services began anew"))
		}
		s.up = true
	}
	return true
}

// answered takes an answer, which lies in l.request. It may be that of another level than the innermost, as tasks answer when they like.
func (s *Sandbox) answered(l *level, f wire.Frame) {
	a := s.newest(abi.ServiceAnswer, f.Number)
	if a == nil {
		s.fail(l, ErrProtocol, fmt.Errorf("an answer to call %d, which is not open", f.Number))
		return
	}
	a.answered, a.answer = true, f
	a.memory, l.request = l.request, a.memory
}

// newest is the innermost level that waits for such a frame, or nil.
func (s *Sandbox) newest(kind uint8, number uint32) *level {
	for i := s.depth - 1; i >= 0; i-- {
		if l := &s.levels[i]; l.kind == kind && !l.answered && (kind == abi.ServiceSettle || l.number == number) {
			return l
		}
	}
	return nil
}

// handle serves a call of the guest's, which lies in l.request.
func (s *Sandbox) handle(l *level, f wire.Frame) {
	s.count(&s.stats.HostCalls)
	s.calls++
	if s.config.Calls != NoLimit && s.calls > s.config.Calls {
		s.fail(l, ErrCalls, nil)
		return
	}
	reply, status := s.serve(l, f)
	if s.broken != nil {
		return
	}
	if err := s.link.Send(wire.Frame{Kind: abi.ServiceAnswer, Status: status, Number: f.Number, Payload: reply}); err != nil {
		s.fail(l, ErrProtocol, err)
	}
}

// serve has a handler answer, or says why none does.
func (s *Sandbox) serve(l *level, f wire.Frame) ([]byte, abi.ErrorCode) {
	handler := s.services[string(f.Name)]
	switch {
	case handler == nil:
		return nil, abi.NODEVICE
	case f.Dropped > 0:
		return nil, abi.SIZE
	case s.open >= abi.ServiceDepth:
		return nil, abi.BUSY
	}
	s.open++
	reply, err := s.invoke(l, f, handler)
	s.open--
	switch {
	case err != nil:
		return nil, s.codeOf(f.Name, err)
	case len(reply) > min(s.config.Payload, int(f.Most)):
		s.config.Log("service %q: an answer of %d bytes, where the task has room for %d, and Config.Payload allows %d", f.Name, len(reply), f.Most, s.config.Payload)
		return nil, abi.SIZE
	}
	if len(reply) > cap(l.reply) { // the slice may be the handler's own: have room for the next one
		l.reply = make([]byte, 0, len(reply))
	}
	return reply, abi.OK
}

// codeOf is what a task learns of a handler's error.
func (s *Sandbox) codeOf(service []byte, err error) abi.ErrorCode {
	var code abi.ErrorCode
	if errors.As(err, &code) && code != abi.OK && code <= 0xff {
		return code
	}
	s.config.Log("service %q: %v", service, err)
	return abi.FAIL
}

// invoke calls a handler. That it does not return becomes an error of the call.
func (s *Sandbox) invoke(l *level, f wire.Frame, handler Handler) (reply []byte, err error) {
	returned := false
	s.handling.Add(1)
	defer func() {
		s.handling.Add(-1)
		if !returned {
			s.fail(l, ErrHandler, &PanicError{Service: string(f.Name), Value: recover(), Stack: stack()})
		}
	}()
	reply, err = handler(l.ctx, l.reply[:0], f.Payload)
	returned = true
	return reply, err
}
