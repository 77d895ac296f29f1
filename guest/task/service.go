package task

import (
	"unsafe"

	"kapsel/guest/abi"
)

// Numbers of the service driver (docs/abi.md, section 6).
const (
	serviceServe  = 1 // commands
	serviceAnswer = 2
	serviceRefuse = 3
	serviceCall   = 4
	serviceUsedUp = 5

	serviceRequestCame = 0 // subscribe
	serviceAnswerCame  = 1
	serviceAnswerRead  = 2

	serviceAnswerBuffer  = 0 // read-only allow
	serviceNameBuffer    = 1
	serviceAskBuffer     = 2
	serviceRequestBuffer = 0 // read-write allow
	serviceReplyBuffer   = 1
	serviceReadOnly      = 3 // how many are read-only
)

// A Handler answers a request: it fills reply, and returns how many bytes of it are the answer. If it returns an error, the caller gets that: an abi.ErrorCode
// as it is, another as abi.FAIL. request and reply are its own until it returns.
type Handler func(request, reply []byte) (n int, err error)

// services is the task's part in services.
var services struct {
	handler  Handler
	request  int // most bytes of one
	reply    int // likewise
	buffers  [abi.ServiceDepth]serviceBuffers
	depth    int          // requests that are worked on: as many of the buffers are in use
	came     serviceEvent // a request that nobody works on yet
	answered serviceEvent
	told     bool           // of both, by upcalls
	shared   [5]sharedBytes // what the driver has, by allow number: those that it reads first
}

// serviceBuffers are those of a request.
type serviceBuffers struct{ request, reply []byte }

// serviceEvent is what the driver told of, and whether it did.
type serviceEvent struct {
	here    bool
	a, b, c uint32
}

type sharedBytes struct {
	p *byte
	n int
}

// Serve serves the host under the task's package name: the handler answers each request. Requests have at most so many bytes, and so have replies. While the handler
// calls the host, the host may call it again: each time with buffers of its own, which are from the heap and used again. Serve
// returns only if it cannot serve: with abi.NODEVICE in a machine without services. Upcalls of other drivers run while the handler waits, not while Serve does.
func Serve(request, reply int, handler Handler) error {
	s := &services
	s.handler, s.request, s.reply = handler, request, reply
	for {
		if err := serve(); err != nil {
			return err
		}
		for r := nextRequest(); r.a != 0; r = nextRequest() { // else the driver was made anew
			work(r)
		}
	}
}

// nextRequest waits for a request.
func nextRequest() (r serviceEvent) {
	if r = services.came; r.here {
		services.came.here = false
		return r
	}
	r.a, r.b, r.c = WaitFor(abi.DriverService, serviceRequestCame)
	return r
}

// serve has the driver give the task requests.
func serve() error {
	services.shared = [5]sharedBytes{}
	expectRequest()
	if err := Command(abi.DriverService, serviceServe, 0, 0).Err(); err != abi.ALREADY {
		return err
	}
	return nil
}

// expectRequest shares the buffer for the next request, if the task serves.
func expectRequest() {
	s := &services
	if s.handler == nil || s.depth == len(s.buffers) {
		return
	}
	b := &s.buffers[s.depth]
	if b.request == nil {
		b.request = make([]byte, s.request)
	}
	shareForService(serviceReadOnly+serviceRequestBuffer, unsafe.SliceData(b.request), len(b.request))
}

// shareForService shares bytes with the driver, unless it has them.
func shareForService(number uint32, p *byte, n int) {
	has := &services.shared[number]
	if *has == (sharedBytes{p, n}) {
		return
	}
	*has = sharedBytes{p, n}
	if number < serviceReadOnly {
		share(abi.AllowReadOnly, abi.DriverService, number, p, n)
	} else {
		share(abi.AllowReadWrite, abi.DriverService, number-serviceReadOnly, p, n)
	}
}

// work has the handler answer a request that came.
func work(r serviceEvent) {
	s := &services
	b, reply := &s.buffers[s.depth], s.shared[serviceReadOnly+serviceReplyBuffer]
	if b.reply == nil {
		b.reply = make([]byte, s.reply)
	}
	s.depth++
	n, err := s.handler(b.request[:r.b], b.reply)
	s.depth--
	shareForService(serviceReadOnly+serviceReplyBuffer, reply.p, reply.n) // for a call of the host's that waits
	expectRequest()
	if err != nil {
		code, ok := err.(abi.ErrorCode)
		if !ok || code == abi.OK {
			code = abi.FAIL
		}
		Command(abi.DriverService, serviceRefuse, r.a, uint32(code))
		return
	}
	shareForService(serviceAnswerBuffer, unsafe.SliceData(b.reply), len(b.reply))
	answer := Command(abi.DriverService, serviceAnswer, r.a, uint32(min(uint(n), 1<<32-1)))
	if answer.Err() == nil && answer.Words[0] != 0 {
		WaitFor(abi.DriverService, serviceAnswerRead)
	}
}

// CallHost calls a service of the host's, and waits for its answer: how many bytes of reply that has. Meanwhile a task that serves, or a handler, may be
// called, and upcalls run. The errors are those that the host chooses, and
//   - abi.NODEVICE if the machine has no services, or the host none of that name,
//   - abi.OFF if the host is not there,
//   - abi.INVAL if the name is empty, or longer than 63 bytes,
//   - abi.SIZE if the request is longer than 1 MiB, or the answer longer than reply,
//   - abi.BUSY if too many calls are open,
//   - abi.CANCEL if the host has forgotten all calls.
//
// The arguments must stay where they are: constants, variables, or from the heap.
func CallHost(name string, request, reply []byte) (n int, err error) {
	s := &services
	if !s.told {
		s.told = true
		Subscribe(abi.DriverService, serviceRequestCame, &serviceCame)
		Subscribe(abi.DriverService, serviceAnswerCame, &serviceAnswered)
	}
	shareForService(serviceNameBuffer, unsafe.StringData(name), len(name))
	shareForService(serviceAskBuffer, unsafe.SliceData(request), len(request))
	shareForService(serviceReadOnly+serviceReplyBuffer, unsafe.SliceData(reply), len(reply))
	expectRequest()
	call := Command(abi.DriverService, serviceCall, uint32(min(uint(len(request)), 1<<32-1)), 0)
	if err := call.Err(); err != nil {
		return 0, err
	}
	s.answered.here = false
	for !s.answered.here || s.answered.c != uint32(call.Words[0]) && s.answered.c != 0 {
		r := s.came
		s.came.here = false
		switch {
		case !r.here:
			Yield()
		case r.a == 0: // the driver was made anew
			serve()
		default:
			work(r)
		}
	}
	s.answered.here = false
	if status := s.answered.a; status != 0 {
		return 0, failure(abi.Failure, uint64(status))
	}
	return int(s.answered.b), nil
}

// What the driver calls while the task waits for the host.
var (
	serviceCame     = Upcall{func(a, b, c uint32) { services.came = serviceEvent{true, a, b, c} }}
	serviceAnswered = Upcall{func(a, b, c uint32) { services.answered = serviceEvent{true, a, b, c} }}
)
