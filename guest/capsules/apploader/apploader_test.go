package apploader

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const driver = abi.DriverAppLoader

var done = [4]uint64{uint64(abi.Success)}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{uint64(abi.Failure), uint64(e)} }

// event is what a WaitFor answers.
func event(status abi.ErrorCode, more uint64) [4]uint64 {
	return [4]uint64{uint64(status.Status()), more}
}

type machine struct {
	*kerneltest.Machine
	loader kernel.Loader
	driver AppLoader
}

func newMachine(t *testing.T, everyone bool) *machine {
	m := newBareMachine(t)
	m.driver.Init(&m.Kernel, &m.loader, everyone, m.Capabilities)
	m.Kernel.OnTaskEnd(&m.driver, m.Capabilities.TaskManagement)
	m.Drivers[driver] = &m.driver
	return m
}

// newBareMachine is a machine whose driver is to be made.
func newBareMachine(t *testing.T) *machine {
	m := &machine{Machine: kerneltest.New(t, capability.Mint())}
	m.CPU.TakesTables = true
	m.loader.Init(&m.Kernel, &m.CPU, &m.Reuse, m.Capabilities.TaskManagement)
	for slot := 1; slot < kernel.MaxTasks; slot++ {
		m.CPU.Programs[slot] = waits
	}
	return m
}

func waits(k *kerneltest.Task) {
	for {
		k.Wait()
	}
}

func large(s *tbfbuild.Spec) { s.MinimumRAM = 20 * abi.PageSize }

// buffer is where a task of the tests has a page to write from.
func buffer(k *kerneltest.Task) uint64 {
	at := k.Start.RAMStart + abi.PageSize
	k.Memop(abi.MemopBrk, at+2*abi.PageSize)
	return at
}

// share fills the buffer and shares it.
func share(k *kerneltest.Task, at uint64, b []byte) {
	k.Store(at, b...)
	k.AllowRO(driver, source, at, uint64(len(b)))
}

// begin sets an object up.
func begin(t *testing.T, k *kerneltest.Task, size int) {
	assert.Equal(t, done, k.Command(driver, setUp, uint64(size), 0))
	assert.Equal(t, event(abi.OK, 0), k.WaitFor(driver, setUpDone))
}

// writeAll writes an object that is set up.
func writeAll(t *testing.T, k *kerneltest.Task, object []byte) {
	at := buffer(k)
	for from := 0; from < len(object); from += maxWrite {
		piece := object[from:min(from+maxWrite, len(object))]
		share(k, at, piece)
		assert.Equal(t, done, k.Command(driver, write, uint64(from), uint64(len(piece))))
		assert.Equal(t, event(abi.OK, uint64(len(piece))), k.WaitFor(driver, writeDone))
	}
}

// install loads an object, and returns the status.
func install(t *testing.T, k *kerneltest.Task, object []byte) abi.ErrorCode {
	begin(t, k, len(object))
	writeAll(t, k, object)
	assert.Equal(t, done, k.Command(driver, finalize, 0, 0))
	assert.Equal(t, event(abi.OK, 0), k.WaitFor(driver, finalizeDone))
	assert.Equal(t, done, k.Command(driver, load, 0, 0))
	return abi.ErrorCode(k.WaitFor(driver, loadDone)[0])
}

func object(t *testing.T, name string, shortID uint32, pages int) []byte {
	return kerneltest.Object(t, name, func(s *tbfbuild.Spec) {
		s.ShortID, s.SHA256, s.Binary = shortID, true, bytes.Repeat([]byte{3}, pages*abi.PageSize)
	})
}

// TestTaskLoadsAndUnloads: a task of 64 bits and one of 32 load a task by Tock's calls, and unload it; memory is as it was.
func TestTaskLoadsAndUnloads(t *testing.T) {
	for _, bits := range []int{64, 32} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			m := newMachine(t, true)
			ran := 0
			m.CPU.Programs[1] = func(k *kerneltest.Task) { ran++; k.Wait() }
			m.AddTask("loader", func(k *kerneltest.Task) {
				assert.Equal(t, done, k.Command(driver, exists, 0, 0))
				buffer(k)
				var free uint64
				for i := range 3 {
					assert.Equal(t, abi.OK, install(t, k, object(t, "late", 9, 3)), m.Log.String())
					k.Spin(20_000) // until it has run
					assert.Equal(t, done, k.Command(driver, unload, 9, 0))
					assert.Equal(t, event(abi.OK, uint64(2+i)), k.WaitFor(driver, unloadDone), "the handle is the PID")
					if i == 0 {
						free = m.Reuse.Free()
					}
				}
				assert.Equal(t, free, m.Reuse.Free())
			}, func(s *tbfbuild.Spec) {
				large(s)
				s.ABI64 = bits == 64
			})
			assert.False(t, m.Run(), m.Log.String())
			assert.Equal(t, 1, ran, "slots are used in turn")
		})
	}
}

// TestCommandsAsInTock: what each command answers, by Tock's capsules/extra/src/app_loader.rs and kernel/src/dynamic_binary_storage.rs; where
// these do not fit together, by docs/abi.md, section 4.
func TestCommandsAsInTock(t *testing.T) {
	m := newMachine(t, true)
	o := object(t, "late", 0, 2)
	size := uint64(len(o))
	m.AddTask("loader", func(k *kerneltest.Task) {
		at := buffer(k)
		command := func(want abi.ErrorCode, command, a0, a1 uint64, why string) {
			expected := done
			if want != abi.OK {
				expected = failed(want)
			}
			assert.Equal(t, expected, k.Command(driver, command, a0, a1), why)
		}
		command(abi.NOSUPPORT, 7, 0, 0, "Tock: unsupported command numbers")
		command(abi.INVAL, write, 0, 8, "before setup: outside of the new app's length")
		command(abi.RESERVE, write, 0, 0, "no buffer, of nothing")
		command(abi.INVAL, finalize, 0, 0, "before setup")
		command(abi.INVAL, load, 0, 0, "before finalize")
		command(abi.INVAL, abort, 0, 0, "nothing to abort")
		command(abi.FAIL, setUp, 0, 0, "no object has that size")
		command(abi.FAIL, setUp, 15, 0, "likewise")
		command(abi.FAIL, setUp, 1<<30, 0, "Tock: the kernel is unable to allocate space")
		command(abi.FAIL, setUp, 0xffff_ffff, 0, "likewise")
		command(abi.INVAL, unload, 0, 0, "Tock: ShortId 0 is none")
		command(abi.INVAL, unload, 77, 0, "no such process")

		begin(t, k, len(o))
		command(abi.INVAL, setUp, size, 0, "there is one already")
		command(abi.INVAL, load, 0, 0, "not finalized")
		command(abi.BUSY, unload, 77, 0, "Tock: state is not Idle")
		command(abi.RESERVE, write, 0, 8, "no buffer")
		share(k, at, o[:maxWrite])
		command(abi.INVAL, write, size, 1, "behind the end")
		command(abi.INVAL, write, size-7, 8, "across the end")
		command(abi.INVAL, write, 0xffff_ffff, 0xffff_ffff, "overflow")
		command(abi.INVAL, write, 0, 7, "not all of the first 8 bytes")
		command(abi.INVAL, write, 4, 8, "a part of them")
		share(k, at, append([]byte{2, 0, 99, 0, 1, 2, 3, 4}, o[8:maxWrite]...))
		command(abi.INVAL, write, 0, maxWrite, "another length in the header")
		share(k, at, append([]byte{9}, o[1:maxWrite]...))
		command(abi.INVAL, write, 0, maxWrite, "another version")
		share(k, at, o[:100])
		command(abi.OK, write, 0, 4096, "")
		assert.Equal(t, event(abi.OK, 100), k.WaitFor(driver, writeDone), "as much as the buffer has")
		share(k, at, make([]byte, maxWrite+8))
		command(abi.OK, write, 8, maxWrite+8, "")
		assert.Equal(t, event(abi.OK, maxWrite), k.WaitFor(driver, writeDone), "as much as Tock writes at once")
		command(abi.OK, abort, 0, 0, "")
		assert.Equal(t, event(abi.OK, 0), k.WaitFor(driver, abortDone))
		command(abi.INVAL, abort, 0, 0, "it is gone")

		begin(t, k, len(o))
		writeAll(t, k, o)
		command(abi.OK, finalize, 0, 0, "")
		command(abi.INVAL, finalize, 0, 0, "twice")
		command(abi.INVAL, abort, 0, 0, "Tock: only in states Setup and AppWrite")
		share(k, at, o[100:108])
		command(abi.OK, load, 0, 0, "")
		assert.Equal(t, event(abi.OK, 0), k.WaitFor(driver, loadDone))
		command(abi.INVAL, load, 0, 0, "it is loaded")

		damaged := bytes.Clone(o)
		damaged[0x300] ^= 1
		assert.Equal(t, abi.FAIL, install(t, k, damaged), "Tock: a CheckError is FAIL")
		assert.Equal(t, abi.NOMEM, install(t, k, kerneltest.Object(t, "much", func(s *tbfbuild.Spec) { s.MinimumRAM = 1 << 20 })), "Tock: NotEnoughMemory is NOMEM")
		assert.Equal(t, abi.OK, install(t, k, object(t, "last", 0, 1)))
	}, large)
	assert.True(t, m.Run(), m.Log.String())
}

// TestBusyMeanwhile: while a command of its owner goes on the driver is busy for it, too, but for an abort of what is not written yet.
func TestBusyMeanwhile(t *testing.T) {
	m := newMachine(t, true)
	o := object(t, "late", 9, 40)
	m.AddTask("loader", func(k *kerneltest.Task) {
		begin(t, k, 100)
		id := m.driver.owner
		k.Command(driver, abort, 0, 0)
		// What is called so, and not by a system call, is behind it before anything else happens.
		asked := func(command, a0 uint32) kernel.Result { return m.driver.Command(id, command, a0, 0) }
		busy := func() {
			for command := uint32(setUp); command <= unload; command++ {
				if command != abort {
					assert.Equal(t, kernel.Failed(abi.BUSY), asked(command, 9), "command %d", command)
				}
			}
		}
		assert.Equal(t, kernel.Done(), asked(setUp, 300<<10))
		busy()
		assert.Equal(t, kernel.Done(), asked(abort, 0), "Tock: in state Setup, too")
		assert.Equal(t, kernel.Done(), asked(setUp, uint32(len(o))))
		busy()
		assert.Equal(t, event(abi.OK, 0), k.WaitFor(driver, setUpDone))
		writeAll(t, k, o)
		k.Command(driver, finalize, 0, 0)
		assert.Equal(t, kernel.Done(), asked(load, 0))
		busy()
		assert.Equal(t, kernel.Failed(abi.INVAL), asked(abort, 0), "Tock: only in states Setup and AppWrite")
		assert.Equal(t, event(abi.OK, 0), k.WaitFor(driver, loadDone))
		assert.Equal(t, kernel.Done(), asked(unload, 9))
		busy()
		assert.Equal(t, kernel.Failed(abi.INVAL), asked(abort, 0))
		k.WaitFor(driver, unloadDone)
	}, large)
	assert.False(t, m.Run(), m.Log.String())
}

// TestFinalizedIsNotWritten: what was finalized is what is loaded.
func TestFinalizedIsNotWritten(t *testing.T) {
	m := newMachine(t, true)
	o := object(t, "late", 0, 1)
	m.AddTask("loader", func(k *kerneltest.Task) {
		begin(t, k, len(o))
		writeAll(t, k, o)
		k.Command(driver, finalize, 0, 0)
		share(k, buffer(k), make([]byte, 64))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, write, 64, 64))
		k.Command(driver, load, 0, 0)
		assert.Equal(t, event(abi.OK, 0), k.WaitFor(driver, loadDone))
	}, large)
	assert.True(t, m.Run(), m.Log.String())
}

// TestOneAtATime: while a task loads another all others are told BUSY; when it ends its object is gone, whatever it has come to, and the
// memory is there for the next.
func TestOneAtATime(t *testing.T) {
	o := object(t, "late", 5, 40) // most of the memory
	for name, last := range map[string]func(k *kerneltest.Task){
		"sets up": func(k *kerneltest.Task) { k.Command(driver, setUp, uint64(len(o)), 0) },
		"is told": func(k *kerneltest.Task) { begin(t, k, len(o)) },
		"writes":  func(k *kerneltest.Task) { begin(t, k, len(o)); writeAll(t, k, o) },
		"finalizes": func(k *kerneltest.Task) {
			begin(t, k, len(o))
			writeAll(t, k, o)
			k.Command(driver, finalize, 0, 0)
		},
		"loads": func(k *kerneltest.Task) {
			begin(t, k, len(o))
			writeAll(t, k, o)
			k.Command(driver, finalize, 0, 0)
			k.Command(driver, load, 0, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, true)
			ended := false
			m.AddTask("first", func(k *kerneltest.Task) {
				last(k)
				k.Spin(30_000)
				ended = true
			}, large)
			m.AddTask("second", func(k *kerneltest.Task) {
				busy := 0
				for !ended {
					k.Spin(100)
					r := k.Command(driver, setUp, 100, 0)
					if r == failed(abi.BUSY) {
						assert.Equal(t, failed(abi.BUSY), k.Command(driver, abort, 0, 0))
						assert.Equal(t, failed(abi.BUSY), k.Command(driver, load, 0, 0))
						assert.Equal(t, done, k.Command(driver, exists, 0, 0))
						busy++
					} else if r == done {
						k.WaitFor(driver, setUpDone)
						k.Command(driver, abort, 0, 0)
						k.WaitFor(driver, abortDone)
					}
				}
				assert.Equal(t, name != "loads", busy != 0)
				k.Spin(20_000) // until it has ended
				if id, ok := m.Kernel.WithShortID(5, m.Capabilities.TaskManagement); ok {
					assert.Equal(t, done, k.Command(driver, unload, 5, 0), "%v was loaded before its loader ended", id)
					k.WaitFor(driver, unloadDone)
				}
				assert.Equal(t, abi.OK, install(t, k, o))
			}, large)
			assert.True(t, m.Run(), m.Log.String())
		})
	}
}

// TestWhoMayLoad: unless the board lets everyone, the driver is there for those alone whose objects list it.
func TestWhoMayLoad(t *testing.T) {
	m := newMachine(t, false)
	m.AddTask("any", func(k *kerneltest.Task) {
		for command := range uint64(8) {
			assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, command, 0, 0))
		}
	}, nil)
	m.AddTask("other", func(k *kerneltest.Task) {
		assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, exists, 0, 0))
	}, func(s *tbfbuild.Spec) { s.Permissions = []tbf.Permission{{Driver: 1, Mask: 1}} })
	m.AddTask("listed", func(k *kerneltest.Task) {
		assert.Equal(t, done, k.Command(driver, exists, 0, 0))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, load, 0, 0))
		assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, unload, 5, 0), "this command is not listed")
	}, func(s *tbfbuild.Spec) { s.Permissions = []tbf.Permission{{Driver: driver, Mask: 1<<unload - 1}} })
	assert.False(t, m.Run())
}

// TestUnloadsItself: nobody is told, and the driver is free for the next.
func TestUnloadsItself(t *testing.T) {
	m := newMachine(t, true)
	m.CPU.Programs[2] = func(k *kerneltest.Task) {
		k.Command(driver, unload, 8, 0)
		panic("it went on")
	}
	m.AddTask("first", func(k *kerneltest.Task) {
		buffer(k)
		assert.Equal(t, abi.OK, install(t, k, object(t, "itself", 8, 1)))
		k.Spin(20_000)
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, unload, 8, 0), "it is gone")
	}, large)
	m.AddTask("second", waits, nil)
	assert.True(t, m.Run())
}

// TestCallbacksThatNobodyAskedFor are ignored.
func TestCallbacksThatNobodyAskedFor(t *testing.T) {
	m := newMachine(t, true)
	m.AddTask("loader", func(k *kerneltest.Task) {
		m.driver.SetUpDone()
		m.driver.LoadDone(kernel.TaskID{}, abi.OK)
		m.driver.UnloadDone()
		begin(t, k, 1000)
		m.driver.SetUpDone()
		m.driver.LoadDone(kernel.TaskID{}, abi.OK)
		assert.Equal(t, done, k.Command(driver, abort, 0, 0))
		assert.Equal(t, event(abi.OK, 0), k.WaitFor(driver, abortDone))
	}, large)
	assert.False(t, m.Run())
	assert.Equal(t, free, m.driver.stage)
}

// host is what a list of components asks of the machine.
type host struct{ kernel.Writer }

func (host) Route(uint32)                     {}
func (host) Unroute(uint32)                   {}
func (host) PrintFrame(kernel.Writer, uint64) {}
func (h host) Polled() kernel.Writer          { return h.Writer }

// deferred is a client of a deferred call.
type deferred func()

func (d deferred) HandleDeferredCall() { d() }

// TestFails: when the driver fails, a task is told the end of what it has begun, though it does not wait for it yet, and the memory that was
// set aside for an object is given back: whether the driver is made anew or stays off.
func TestFails(t *testing.T) {
	const pages = 40
	for _, stays := range []bool{false, true} {
		for name, c := range map[string]struct {
			before       func(k *kerneltest.Task, o []byte)
			command, end uint64
		}{
			"setting up": {func(k *kerneltest.Task, o []byte) {}, setUp, setUpDone},
			"loading": {func(k *kerneltest.Task, o []byte) {
				begin(t, k, len(o))
				writeAll(t, k, o)
				k.Command(driver, finalize, 0, 0)
				k.WaitFor(driver, finalizeDone)
			}, load, loadDone},
		} {
			t.Run(fmt.Sprintf("%s, stays off: %v", name, stays), func(t *testing.T) {
				m := newBareMachine(t)
				var components kernel.Components
				components.SetPolicy(kernel.RestartCapsule, 3)
				if stays {
					components.SetPolicy(kernel.StopCapsule, 0)
				}
				components.Init(&m.Kernel, []kernel.Component{{
					Name: "apploader",
					Init: func(capability.Set) bool {
						m.driver.Init(&m.Kernel, &m.loader, true, m.Capabilities)
						m.Kernel.AddDriver(driver, &m.driver)
						return true
					},
					Clear: func() { m.driver = AppLoader{} },
					Fell:  func() { m.loader.Abort() },
				}}, host{&m.Log}, m.Capabilities)
				components.Wire()
				components.WireRest()
				var breaks kernel.DeferredCall // behind the loader's first piece of work
				breaks.Register(&m.Kernel, deferred(func() {
					var trace kernel.Trace
					trace.Reset("division")
					trace.Add(0x10, "kapsel/guest/capsules/apploader", ".(*AppLoader).", "SetUpDone", &components)
					trace.Add(0x20, "kapsel/guest/kernel", ".(*Loader).", "clear", &components)
					assert.Zero(t, components.Contain(&trace))
				}))
				m.AddTask("loader", func(k *kerneltest.Task) {
					buffer(k)
					before := m.Reuse.Free()
					o := object(t, "late", 9, pages)
					c.before(k, o)
					breaks.Set()
					assert.Equal(t, done, k.Command(driver, c.command, uint64(len(o)), 0))
					k.Spin(1000)
					assert.Equal(t, event(abi.FAIL, 0), k.WaitFor(driver, c.end))
					assert.Equal(t, before, m.Reuse.Free())
					want := done
					if stays {
						want = failed(abi.NODEVICE)
					}
					assert.Equal(t, want, k.Command(driver, exists, 0, 0))
				}, large)
				assert.False(t, m.Run(), m.Log.String())
			})
		}
	}
}
