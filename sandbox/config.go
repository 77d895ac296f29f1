package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/image"
)

// Defaults of a Config.
const (
	DefaultStartTime = 30 * time.Second
	DefaultCallTime  = 10 * time.Second
	DefaultOutput    = 64 << 10 // bytes
	DefaultCalls     = 10_000
	DefaultPayload   = 64 << 10 // bytes
)

// NoLimit is a limit of a Config's that is none. Memory and payloads have always one.
const NoLimit = -1

// Handler is a service of the host's: a function that tasks call by name. It appends its answer to reply and returns that; a new slice costs an
// allocation and is as good. It must not keep reply or request, which are used again once it has returned.
//
// An error that is an abi.ErrorCode, or wraps one, is the task's answer. Of another the task learns FAIL, and Config.Log the text. An answer longer
// than the task has room for, or than Config.Payload, becomes SIZE.
//
// A Handler runs on the thread of the machine's processor, while the guest stands still, and ctx is that of the call within which the task calls.
// From there it may call the same sandbox, on its own goroutine: another goroutine's call waits until the one that is open has ended. Time that it
// takes counts as the call's, but nobody ends a Handler that does not return: what it waits for it should leave when ctx ends. One that panics, or
// ends its goroutine, ends the call with ErrHandler.
type Handler func(ctx context.Context, reply, request []byte) ([]byte, error)

// Services are services of the host's by name: 1 to abi.ServiceName bytes.
type Services map[string]Handler

// check says what is wrong with a name, or a handler.
func (s Services) check() error {
	for name, handler := range s {
		if name == "" || len(name) > abi.ServiceName {
			return fmt.Errorf("a service of the host's with the name %q: want 1 to %d bytes", name, abi.ServiceName)
		}
		if handler == nil {
			return fmt.Errorf("the service %q of the host's has no handler", name)
		}
	}
	return nil
}

// with returns the services of both. None may be in both.
func (s Services) with(more Services) (Services, error) {
	all := make(Services, len(s)+len(more))
	maps.Copy(all, s)
	for name, handler := range more {
		if all[name] != nil {
			return nil, fmt.Errorf("the service %q of the host's is in Config.Services and in what Config.ServicesOf returned: leave it out of one", name)
		}
		all[name] = handler
	}
	return all, more.check()
}

// Config says what sandbox New is to make. Only Image is required.
type Config struct {
	// Image is the kernel, with the tasks that were built into it.
	Image *image.Image
	// Tasks are further tasks, objects in Tock Binary Format.
	Tasks [][]byte
	// Arguments and Environment are strings for the tasks, as of vmm.Config. A machine that is reset, or of a snapshot, has those of the one that was saved.
	Arguments, Environment []string
	// Services are what tasks can call.
	Services Services
	// ServicesOf, if not nil, returns what the tasks of one sandbox can call besides: New and Snapshot.Start ask for each that they make. Handlers so know
	// which sandbox of many they serve. The sandbox cannot be called yet, and is closed if New or Start then fails. Start may be called by several goroutines
	// at once, and so may this be.
	ServicesOf func(*Sandbox) Services

	// Memory is the guest's in bytes, a multiple of abi.PageSize; 0 means vmm.DefaultMemory. A machine takes from the host what of it is touched.
	Memory uint64
	// Cmdline is the kernel's command line.
	Cmdline string
	// Devices are further devices. Without vmm.Entropy tasks have no random numbers.
	Devices []vmm.Device
	// Clock says how time goes on in a machine that is reset or started from a snapshot: it stands still, or goes on as outside.
	Clock vmm.Time

	// Output takes what the guest prints, in order, on the thread of the processor, by lines where they are not too long. It
	// should not block: the guest, and Close, wait for it. Nil discards it.
	Output io.Writer
	// Log takes a line at a time about what the guest should not do and the host cannot do. It may be called from several goroutines. Nil
	// discards it.
	Log func(format string, args ...any)
	// Made, if not nil, is called when a machine was made, by New and Snapshot.Start, and has run nothing yet: there the program may confine itself
	// (kapsel/vmm/confine). After an error of it the machine is closed, and that is the error.
	Made func() error
	// KVM is the path of the KVM device; vmm.DefaultKVM if empty.
	KVM string

	// Limits. 0 means the default, NoLimit none.

	StartTime   time.Duration // of New and Snapshot.Start, until the tasks have settled
	CallTime    time.Duration // of a Call, with those that handlers make within it
	OutputLimit int           // bytes that the guest prints within a Call; at the start it is DefaultOutput, or this if that is more
	Calls       int           // calls of host services within a Call
	Payload     int           // bytes of a request or an answer, in either direction; at most abi.ServicePayload
}

// read fills in Image and Tasks from files.
func (c *Config) read(ctx context.Context, kernel string, tasks []string) (err error) {
	if c.Image != nil {
		return fmt.Errorf("two images, Config.Image and the file %q: leave Config.Image nil, or use New", kernel)
	}
	if c.Image, err = image.Open(ctx, kernel); err != nil {
		return err
	}
	c.Tasks = slices.Clone(c.Tasks) // the caller's own stays as it is
	for _, path := range tasks {
		task, err := image.ReadFile(ctx, path)
		if err != nil {
			return err
		}
		c.Tasks = append(c.Tasks, task)
	}
	return nil
}

// withDefaults checks c, and fills in what it leaves open.
func (c Config) withDefaults() (Config, error) {
	if c.Payload < 0 || c.Payload > abi.ServicePayload {
		return c, fmt.Errorf("a limit of %d bytes for payloads: want 1 to %d, or 0 for %d", c.Payload, abi.ServicePayload, DefaultPayload)
	}
	if err := c.Services.check(); err != nil {
		return c, err
	}
	c.Services = maps.Clone(c.Services)
	var errs []error
	orDefault(&errs, "StartTime", &c.StartTime, DefaultStartTime)
	orDefault(&errs, "CallTime", &c.CallTime, DefaultCallTime)
	orDefault(&errs, "OutputLimit", &c.OutputLimit, DefaultOutput)
	orDefault(&errs, "Calls", &c.Calls, DefaultCalls)
	orDefault(&errs, "Payload", &c.Payload, DefaultPayload)
	if c.Output == nil {
		c.Output = io.Discard
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	return c, errors.Join(errs...)
}

// orDefault checks a limit, and fills it in.
func orDefault[T time.Duration | int](errs *[]error, name string, limit *T, otherwise T) {
	switch {
	case *limit == 0:
		*limit = otherwise
	case *limit < 0 && *limit != NoLimit:
		*errs = append(*errs, fmt.Errorf("a limit %s of %v: want a positive one, 0 for %v, or NoLimit", name, *limit, otherwise))
	}
}
