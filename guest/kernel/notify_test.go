package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// newNotifyMachine has the probe's hook notify slot a0 by the event of number a1, lending it
// buffer 0 of the caller.
func newNotifyMachine(t *testing.T) *machine {
	m := newMachine(t)
	m.probe.hook = func(id kernel.TaskID, slot, n uint32) kernel.Result {
		return kernel.Outcome(m.probe.grant.Slots().Notify(id, slot, n, 0, m.Capabilities.MemorySharing))
	}
	return m
}

// lendPage lends the task's second page, and takes back what it lent before.
func lendPage(k *kerneltest.Task) {
	page := k.Start.RAMStart + abi.PageSize
	k.Memop(abi.MemopBrk, page+abi.PageSize)
	k.AllowRW(probeDriver, 0, page, abi.PageSize)
}

func notify(k *kerneltest.Task, slot, n uint64) { k.Command(probeDriver, probeHook, slot, n) }

func waits(k *kerneltest.Task) {
	for {
		k.Wait()
	}
}

// received collects what the upcall of an event is called with.
func received(k *kerneltest.Task, n uint64) *[][3]uint32 {
	var got [][3]uint32
	k.Subscribe(probeDriver, n, k.Function(func(args [3]uint32, _ uint64) { got = append(got, args) }), 0)
	return &got
}

// TestNotificationBeforeSubscribe: whatever the order in which a service subscribes and its
// clients notify it, and however it yields, it is told of each.
func TestNotificationBeforeSubscribe(t *testing.T) {
	window := func(slot uint32) uint32 { return uint32(loanOf(uint64(slot))) }
	for name, scheduler := range schedulers {
		for _, c := range []struct {
			name    string
			service func(t *testing.T, k *kerneltest.Task, want [][3]uint32)
		}{
			{"Wait", func(t *testing.T, k *kerneltest.Task, want [][3]uint32) {
				got := received(k, 0)
				for range 2 {
					k.Wait()
				}
				assert.Equal(t, want, *got)
			}},
			{"NoWait", func(t *testing.T, k *kerneltest.Task, want [][3]uint32) {
				assert.False(t, k.NoWait(), "nothing is subscribed")
				got := received(k, 0)
				assert.True(t, k.NoWait())
				assert.True(t, k.NoWait())
				assert.False(t, k.NoWait())
				assert.Equal(t, want, *got)
			}},
			{"WaitFor", func(t *testing.T, k *kerneltest.Task, want [][3]uint32) {
				for _, w := range want {
					assert.Equal(t, [4]uint64{uint64(w[0]), uint64(w[1]), uint64(w[2])}, k.WaitFor(probeDriver, 0))
				}
			}},
			{"WaitFor with a function", func(t *testing.T, k *kerneltest.Task, want [][3]uint32) {
				got := received(k, 0)
				for _, w := range want {
					assert.Equal(t, [4]uint64{uint64(w[0]), uint64(w[1]), uint64(w[2])}, k.WaitFor(probeDriver, 0))
				}
				assert.Empty(t, *got)
			}},
			{"subscribed, unsubscribed and subscribed", func(t *testing.T, k *kerneltest.Task, want [][3]uint32) {
				received(k, 0)
				k.Subscribe(probeDriver, 0, 0, 0)
				assert.False(t, k.NoWait())
				got := received(k, 0)
				k.Wait()
				k.Wait()
				assert.Equal(t, want, *got)
			}},
		} {
			for what, takesBack := range map[string]bool{"lent": false, "taken back": true} {
				t.Run(fmt.Sprintf("%s, %s, %s", name, c.name, what), func(t *testing.T) {
					m := newNotifyMachine(t)
					m.scheduled(scheduler())
					told := false
					want := [][3]uint32{{1, abi.PageSize, window(1)}, {2, abi.PageSize, window(2)}}
					if takesBack {
						want = [][3]uint32{{1}, {2}}
					}
					client := func(k *kerneltest.Task) {
						lendPage(k)
						notify(k, 0, 0)
						if takesBack {
							k.AllowRW(probeDriver, 0, 0, 0)
						}
						waits(k)
					}
					m.AddTask("service", func(k *kerneltest.Task) {
						k.WaitFor(otherDriver, 2) // until the clients have notified it
						c.service(t, k, want)
						told = true
					}, nil)
					m.AddTask("client", client, nil)
					m.AddTask("client", client, nil)
					assert.True(t, m.Run())
					m.other.grant.Slots().ScheduleUpcall(m.byName("service").ID(), 2, 0, 0, 0)
					m.Continue()
					assert.True(t, told, m.Tasks())
				})
			}
		}
	}
}

// TestNotificationsDoNotOustEvents: peers that notify without end keep nothing else from a task:
// neither an event of another driver nor the notification of another peer.
func TestNotificationsDoNotOustEvents(t *testing.T) {
	m := newNotifyMachine(t)
	m.AddTask("victim", func(k *kerneltest.Task) {
		peers := received(k, 0)
		events := 0
		k.Subscribe(otherDriver, 0, k.Function(func([3]uint32, uint64) { events++ }), 0)
		k.Spin(30_000) // until there were floods
		k.Command(otherDriver, probeSchedule, 0, 0)
		k.Spin(30_000)
		for range 13 {
			assert.True(t, k.NoWait())
		}
		assert.Equal(t, 1, events, "told within the queue and one for each that waits beside it")
		last := (*peers)[len(*peers)-2:]
		assert.ElementsMatch(t, [][3]uint32{{1}, {2}}, last, "of each peer")
	}, nil)
	m.AddTask("flooder", func(k *kerneltest.Task) {
		for range 100 {
			notify(k, 0, 0)
		}
		k.Spin(100_000)
	}, nil)
	m.AddTask("once", func(k *kerneltest.Task) {
		k.Spin(1)
		notify(k, 0, 0)
		k.Spin(100_000)
	}, nil)
	m.Run()
	assert.Regexp(t, `victim +Terminated +0 +\d+ +89 `, m.Tasks(), "what was replaced is counted")
}

// TestNotificationsAreOfRuns: no run is told what a run before it was notified of, nor by a peer
// that has started anew since. One that has ended lends nothing.
func TestNotificationsAreOfRuns(t *testing.T) {
	ends := map[string]func(k *kerneltest.Task){
		"exits":    func(k *kerneltest.Task) { k.Syscall(abi.Exit, abi.ExitTerminate) },
		"restarts": func(k *kerneltest.Task) { k.Restart(0) },
		"faults":   func(k *kerneltest.Task) { k.Syscall(99) },
	}
	for name, end := range ends {
		for where, queued := range map[string]bool{"queued": true, "kept": false} {
			t.Run("the peer "+name+", "+where, func(t *testing.T) {
				m := newNotifyMachine(t)
				m.Policy = &kernel.FaultLimit{Restarts: 1}
				lives, told := 0, [][3]uint32{}
				m.AddTask("peer", func(k *kerneltest.Task) {
					if lives++; lives > 1 {
						k.Wait()
					}
					lendPage(k)
					k.Spin(20_000) // until the other has subscribed
					for range 20 { // more than its queue takes
						notify(k, 1, 0)
					}
					k.Spin(20_000)
					end(k)
				}, nil)
				m.AddTask("task", func(k *kerneltest.Task) {
					collect := k.Function(func(args [3]uint32, _ uint64) { told = append(told, args) })
					if queued {
						k.Subscribe(probeDriver, 0, collect, 0)
					}
					k.Spin(100_000) // until the peer has ended
					if !queued {
						k.Subscribe(probeDriver, 0, collect, 0)
					}
					waits(k)
				}, nil)
				assert.True(t, m.Run())
				if name == "exits" {
					assert.Equal(t, slices.Repeat([][3]uint32{{}}, map[bool]int{true: 11, false: 1}[queued]), told)
				} else {
					assert.Empty(t, told)
				}
			})
		}
		t.Run("the task "+name, func(t *testing.T) {
			m := newNotifyMachine(t)
			m.Policy = &kernel.FaultLimit{Restarts: 1}
			lives := 0
			m.AddTask("task", func(k *kerneltest.Task) {
				lives++
				got := received(k, 0)
				if lives == 1 {
					k.Spin(20_000)
					end(k)
				}
				k.Spin(20_000)
				assert.False(t, k.NoWait())
				assert.Empty(t, *got)
			}, nil)
			m.AddTask("peer", func(k *kerneltest.Task) {
				lendPage(k)
				for range 20 {
					notify(k, 0, 0)
				}
				waits(k)
			}, nil)
			m.Run()
			assert.Equal(t, map[string]int{"exits": 1, "restarts": 2, "faults": 2}[name], lives)
		})
	}
}

// TestAWaitingTaskSleepsOn: a task that was woken by a notification, whose peer starts anew before
// it runs, waits on.
func TestAWaitingTaskSleepsOn(t *testing.T) {
	m := newNotifyMachine(t)
	lives := 0
	m.AddTask("peer", func(k *kerneltest.Task) {
		if lives++; lives == 1 {
			k.Spin(20_000)
			notify(k, 1, 0)
			k.Restart(0)
		}
	}, nil)
	m.AddTask("task", func(k *kerneltest.Task) {
		received(k, 0)
		k.Wait()
		t.Error("an upcall ran")
	}, nil)
	assert.True(t, m.Run())
	assert.Equal(t, kernel.Yielded, m.byName("task").State())
}

// TestAdvice: the kernel says why a notification fails, once for all the runs of a task.
func TestAdvice(t *testing.T) {
	m := newNotifyMachine(t)
	lives := 0
	m.AddTask("client", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+2*abi.LoanSize)
		for range 5 {
			k.AllowRW(probeDriver, 0, page, 64)
			assert.Equal(t, failed(abi.INVAL), k.Command(probeDriver, probeHook, 1, 0))
			k.AllowRW(probeDriver, 0, page, abi.LoanSize+abi.PageSize)
			assert.Equal(t, failed(abi.SIZE), k.Command(probeDriver, probeHook, 1, 0))
		}
		if lives++; lives < 3 {
			k.Restart(0)
		}
	}, func(s *tbfbuild.Spec) { s.MinimumRAM = 2*abi.LoanSize + 4*abi.PageSize })
	m.AddTask("service", waits, nil)
	assert.True(t, m.Run())
	assert.Equal(t, 3, lives)
	for _, line := range []string{
		"task 1 client did not notify service: the buffer to lend, 0x80001000 with 64 bytes, does not begin and end on pages of 4096 bytes\n",
		"task 1 client did not notify service: the buffer to lend, 0x80001000 with 135168 bytes, has more than 131072 bytes\n",
	} {
		assert.Equal(t, 1, strings.Count(m.Log.String(), line), m.Log.String())
	}
	assert.Equal(t, 2, strings.Count(m.Log.String(), "did not notify"))
}
