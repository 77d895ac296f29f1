package virtio_test

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// The tests are of what a hostile driver does, by classes of faults that devices of others had. Each ends with a reset,
// after which the device works.

const ramSize = 1 << 20

// 1: QEMU CVE-2026-50626: a queue of any size was taken.
func TestHostileQueueSize(t *testing.T) {
	for _, tt := range []struct {
		name string
		size uint32
		ok   bool
	}{
		{"none", 0, false}, {"one", 1, true}, {"no power of two", 12, false}, {"the largest", 16, true},
		{"twice the largest", 32, false}, {"16 in the lower half", 16 + 1<<16, false}, {"negative", 1 << 31, false}, {"all ones", 1<<32 - 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.Negotiate(0)
			q := r.PlaceQueue(0, 16)
			r.Setup(q)
			r.Write(abi.RegQueueReady, 0)
			assert.Zero(t, r.Read(abi.RegQueueReady), "it can be stopped again")
			r.Write(abi.RegQueueSize, tt.size)
			r.Write(abi.RegQueueReady, 1)
			assert.Equal(t, tt.ok, r.Read(abi.RegQueueReady) == 1)
			assert.Equal(t, !tt.ok, r.Broken())
			r.Works()
		})
	}
}

// 2: cloud-hypervisor #7917, QEMU CVE-2011-2512: a queue that is none, and then its registers.
func TestHostileQueueSelect(t *testing.T) {
	for _, queue := range []uint32{2, 63, 64, 1 << 16, 1 << 31, 1<<32 - 1} {
		r := newRig(t)
		r.Negotiate(0)
		r.Write(abi.RegQueueSel, queue)
		for offset := uint64(0); offset < abi.RegConfig; offset += 4 {
			if offset != abi.RegStatus && offset != abi.RegQueueSel {
				r.Write(offset, 1)
				r.Read(offset)
			}
		}
		assert.Zero(t, r.Read(abi.RegQueueSizeMax))
		assert.Zero(t, r.Read(abi.RegQueueReady))
		r.Works()
		r.Write(abi.RegQueueNotify, queue)
		assert.False(t, r.Broken())
		assert.NotZero(t, r.transport.Counters().Errors)
	}
}

// 3: Firecracker crashed when a queue overlapped the hole.
func TestHostileQueueAddress(t *testing.T) {
	const table = 16 * 16
	for _, tt := range []struct {
		name                         string
		descriptors, available, used uint64
		ok                           bool
	}{
		{"each on its own", 0x1000, 0x2000, 0x3000, true},
		{"close together", 0x1000, 0x1000 + table, 0x1000 + table + 40, true},
		{"at the ends of RAM", ramSize - table, virtiotest.High, virtiotest.High + ramSize - 4 - 8*16 - 2 - 2, true},
		{"a table off its alignment", 0x1008, 0x2000, 0x3000, false},
		{"an available ring off its alignment", 0x1000, 0x2001, 0x3000, false},
		{"a used ring off its alignment", 0x1000, 0x2000, 0x3002, false},
		{"a table one beyond RAM", ramSize - table + 16, 0x2000, 0x3000, false},
		{"an available ring one beyond RAM", 0x1000, ramSize - 6 - 2*16 + 2, 0x3000, false},
		{"a used ring one beyond RAM", 0x1000, 0x2000, ramSize - 6 - 8*16 + 2, false},
		{"a table in the hole", 0xd000_0000, 0x2000, 0x3000, false},
		{"a used ring from the hole into RAM", 0x1000, 0x2000, virtiotest.High - 4, false},
		{"a table beyond all RAM", virtiotest.High + ramSize, 0x2000, 0x3000, false},
		{"a table round the end of addresses", 1<<64 - 16, 0x2000, 0x3000, false},
		{"an available ring round the end of addresses", 0x1000, 1<<64 - 2, 0x3000, false},
		{"a used ring at the end of addresses", 0x1000, 0x2000, 1<<64 - 4, false},
		{"rings in the table", 0x1000, 0x1000 + table - 2, 0x3000, false},
		{"both rings in one place", 0x1000, 0x2000, 0x2000, false},
		{"a used ring in the other queue's table", 0x1000, 0x2000, 0x8000 + table - 4, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.Negotiate(0)
			other := r.PlaceQueue(1, 16)
			other.Descriptors, other.Available, other.Used = 0x8000, 0x9000, 0xa000
			r.Setup(other)
			q := r.PlaceQueue(0, 16)
			q.Descriptors, q.Available, q.Used = tt.descriptors, tt.available, tt.used
			r.Setup(q)
			assert.Equal(t, tt.ok, r.Read(abi.RegQueueReady) == 1)
			assert.Equal(t, !tt.ok, r.Broken())
			r.Start()
			r.Works()
		})
	}
}

// 4: Firecracker CVE-2026-5747: registers of a queue that lives.
func TestHostileSequence(t *testing.T) {
	const up = abi.StatusAcknowledge | abi.StatusDriver | abi.StatusFeaturesOK | abi.StatusDriverOK
	live := func(r *rig) { r.StartWith(0, 2, 16) }
	negotiated := func(r *rig) { r.Negotiate(0) }
	writes := func(offset uint64, value uint32) func(*rig) { return func(r *rig) { r.Write(offset, value) } }
	for _, tt := range []struct {
		name       string
		first, act func(*rig)
		broken     bool
		status     uint32 // beside NEEDS_RESET
	}{
		{"a size after DRIVER_OK", live, writes(abi.RegQueueSize, 8), true, up},
		{"a table after DRIVER_OK", live, writes(abi.RegQueueDescLow, 0x9000), true, up},
		{"an available ring after DRIVER_OK", live, writes(abi.RegQueueDriverHigh, 1), true, up},
		{"a used ring after DRIVER_OK", live, writes(abi.RegQueueDeviceLow, 0x9000), true, up},
		{"a size while ready", func(r *rig) { r.Negotiate(0); r.AddQueue(16) }, writes(abi.RegQueueSize, 8), true, up &^ abi.StatusDriverOK},
		{"a queue made ready after DRIVER_OK", func(r *rig) { r.StartWith(0, 1, 16); r.Write(abi.RegQueueSel, 1) }, writes(abi.RegQueueReady, 1), true, up},
		{"a queue made ready before FEATURES_OK", func(r *rig) { r.Write(abi.RegStatus, 3) }, writes(abi.RegQueueReady, 1), true, 3},
		{"a size before anything", func(*rig) {}, writes(abi.RegQueueSize, 8), true, 0},
		{"a queue stopped that never was", func(*rig) {}, writes(abi.RegQueueReady, 0), false, 0},
		{"features before DRIVER", func(r *rig) { r.Write(abi.RegStatus, 1) }, writes(abi.RegDriverFeatures, 0), true, 1},
		{"features after FEATURES_OK", negotiated, writes(abi.RegDriverFeatures, 0), true, up &^ abi.StatusDriverOK},
		{"a bit of the status cleared", live, writes(abi.RegStatus, up&^abi.StatusDriver), true, up},
		{"DRIVER_OK twice", live, writes(abi.RegStatus, up), false, up},
		{"NEEDS_RESET by the driver", live, writes(abi.RegStatus, up|abi.StatusNeedsReset), false, up},
		{"bits that mean nothing", live, writes(abi.RegStatus, up|0xffff_ff30), false, up},
		{"DRIVER_OK before FEATURES_OK", func(r *rig) { r.Write(abi.RegStatus, 3) }, writes(abi.RegStatus, 7), true, 3},
		{"FEATURES_OK before DRIVER", func(r *rig) { r.Write(abi.RegStatus, 1) }, writes(abi.RegStatus, 9), true, 1},
		{"DRIVER before ACKNOWLEDGE", func(*rig) {}, writes(abi.RegStatus, 2), true, 0},
		{"ACKNOWLEDGE and DRIVER at once", func(*rig) {}, writes(abi.RegStatus, 3), false, 3},
		{"all at once, without VERSION_1", func(*rig) {}, writes(abi.RegStatus, up), false, 3},
		{"features that are not offered", func(r *rig) { r.Write(abi.RegStatus, 3); r.Accept(abi.FeatureVersion1 | abi.FeatureIndirectDesc) }, writes(abi.RegStatus, 11), false, 3},
		{"a feature beyond 64", func(r *rig) {
			r.Write(abi.RegStatus, 3)
			r.Accept(abi.FeatureVersion1)
			r.Write(abi.RegDriverFeaturesSel, 2)
			r.Write(abi.RegDriverFeatures, 1)
		}, writes(abi.RegStatus, 11), false, 3},
		{"without VERSION_1", func(r *rig) { r.Write(abi.RegStatus, 3); r.Accept(1 << 5) }, writes(abi.RegStatus, 11), false, 3},
		{"given up", live, writes(abi.RegStatus, up|abi.StatusFailed), false, up | abi.StatusFailed},
		{"a queue after it was given up", func(r *rig) { live(r); r.AddStatus(abi.StatusFailed) }, writes(abi.RegStatus, up), false, up | abi.StatusFailed},
		{"going on while broken", func(r *rig) { r.Write(abi.RegQueueSize, 1) }, writes(abi.RegStatus, up), true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.first(r)
			tt.act(r)
			assert.Equal(t, tt.broken, r.Broken())
			assert.Equal(t, tt.status, r.Status()&^uint32(abi.StatusNeedsReset))
			r.Works()
		})
	}
}

// 5: accesses of a wrong width, or to registers that are not read or not written.
func TestHostileAccess(t *testing.T) {
	r := newRig(t)
	r.StartWith(0, 2, 16)
	read := func(offset uint64, n int) []byte {
		p := []byte{9, 9, 9, 9, 9, 9, 9, 9}[:n]
		r.Registers.ReadMMIO(offset, p)
		return p
	}
	zero := make([]byte, 8)
	for offset := uint64(0); offset < abi.RegConfig; offset++ {
		for n := 1; n <= 8; n++ {
			if n != 4 || offset%4 != 0 {
				assert.Equal(t, zero[:n], read(offset, n), "%d bytes at %#x", n, offset)
				r.Registers.WriteMMIO(offset, zero[:n])
			}
		}
	}
	for _, offset := range []uint64{abi.RegDeviceFeaturesSel, abi.RegDriverFeatures, abi.RegQueueSel, abi.RegQueueSize, abi.RegQueueNotify,
		abi.RegInterruptACK, abi.RegQueueDescLow, abi.RegSHMSel, abi.RegQueueReset, 0xfc - 4} {
		assert.Zero(t, r.Read(offset), "%#x is not read", offset)
	}
	for _, offset := range []uint64{abi.RegMagic, abi.RegVersion, abi.RegDeviceID, abi.RegVendorID, abi.RegDeviceFeatures,
		abi.RegQueueSizeMax, abi.RegInterruptStatus, abi.RegSHMLenLow, abi.RegQueueReset, abi.RegConfigGeneration} {
		r.Write(offset, 0)
	}
	assert.EqualValues(t, 15, r.Status(), "none of it had an effect")
	for _, offset := range []uint64{abi.RegSHMLenLow, abi.RegSHMLenHigh, abi.RegSHMBaseLow, abi.RegSHMBaseHigh} {
		assert.EqualValues(t, 1<<32-1, r.Read(offset))
	}

	assert.Equal(t, "0123", string(read(0x100, 4)))
	assert.Equal(t, "89\x00\x00", string(read(0x108, 4)), "across the configuration's end")
	assert.Equal(t, zero[:4], read(0x10c, 4), "behind it")
	assert.Equal(t, zero[:4], read(0xffc, 4))
	assert.Equal(t, zero[:2], read(0x101, 2), "not aligned")
	assert.Equal(t, zero[:8], read(0x100, 8), "8 bytes at once")
	assert.Equal(t, zero[:4], read(0xfe, 4), "across the border of both")
	assert.Equal(t, zero[:4], read(1<<64-4, 4), "anywhere")
	r.Registers.WriteMMIO(0x108, []byte("abcd"))
	assert.Equal(t, "ab", string(r.device.config[8:]))
	r.Registers.WriteMMIO(1<<64-4, []byte("abcd"))
	r.Works()
}

// 6: Firecracker's "self-DoS", arcbox#210: how far the available index goes.
func TestHostileAvailableIndex(t *testing.T) {
	for _, tt := range []struct {
		name  string
		index uint16
	}{
		{"one more than the queue", 17}, {"half of all", 0x8000}, {"back", 0xffff},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.StartWith(0, 2, 16)
			r.Queues[0].SetIndex(tt.index)
			r.Queues[0].Notify()
			r.WaitBroken()
			r.Works()
		})
	}
	t.Run("back behind what is in flight", func(t *testing.T) {
		r := newRig(t)
		r.device.hold = true
		r.StartWith(0, 2, 16)
		r.Queues[0].Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 1})
		r.waitHeld()
		r.Queues[0].SetIndex(0)
		r.Queues[0].Notify()
		r.WaitBroken()
		r.Works()
	})
	t.Run("a whole queue is allowed, and any index that was reached step by step", func(t *testing.T) {
		r := newRig(t)
		r.StartWith(abi.FeatureEventIndex, 2, 16)
		r.advance(r.Queues[0], 0xfff0)
		r.advance(r.Queues[0], 0x30)
		assert.False(t, r.Broken())
	})
	t.Run("changing all the time", func(t *testing.T) {
		r := newRig(t)
		r.StartWith(0, 2, 16)
		q := r.Queues[0]
		for i := uint16(0); !r.Broken(); i++ {
			q.SetIndex(i * 7)
			q.Notify()
		}
		r.Works()
	})
}

// advance sends whole queues of requests until the used index is there.
func (r *rig) advance(q *virtiotest.Queue, index uint16) {
	for q.UsedIndex() != index {
		for range q.Size {
			q.Offer(q.Chain(abi.Descriptor{Address: virtiotest.Buffers, Length: 1}))
		}
		q.Notify()
		for range q.Size {
			q.WaitUsed()
		}
	}
}

// 7, 8, 9, 10: chains of descriptors.
func TestHostileDescriptors(t *testing.T) {
	const buffer = virtiotest.Buffers
	const top = ramSize
	d := func(address uint64, length uint32, flags, next uint16) abi.Descriptor {
		return abi.Descriptor{Address: address, Length: length, Flags: flags, Next: next}
	}
	const next, write, indirect = abi.DescNext, abi.DescWrite, abi.DescIndirect
	for _, tt := range []struct {
		name  string
		heads []uint16
		table []abi.Descriptor
		ok    bool
	}{
		{"7: a head beyond the queue", []uint16{16}, nil, false},
		{"7: a head far beyond the queue", []uint16{0xffff}, nil, false},
		{"7: next beyond the queue", []uint16{0}, []abi.Descriptor{d(buffer, 1, next, 16)}, false},
		{"7: next far beyond the queue", []uint16{0}, []abi.Descriptor{d(buffer, 1, next, 0xffff)}, false},
		{"7: a descriptor behind itself", []uint16{0}, []abi.Descriptor{d(buffer, 1, next, 0)}, false},
		{"7: a loop of two without bytes", []uint16{0}, []abi.Descriptor{d(0, 0, next, 1), d(0, 0, next, 0)}, false},
		{"7: a head twice", []uint16{0, 0}, []abi.Descriptor{d(buffer, 1, 0, 0)}, false},
		{"7: more descriptors than the queue has, in two chains", []uint16{0, 8}, func() (table []abi.Descriptor) {
			for i := range uint16(15) {
				table = append(table, d(buffer, 1, next, i+1))
			}
			return append(table, d(buffer, 1, 0, 0))
		}(), false},
		{"7: without bytes", []uint16{0, 2}, []abi.Descriptor{d(1<<63, 0, next, 1), d(buffer, 4, 0, 0), d(0, 0, write, 0)}, true},
		{"7: 4 GiB and a byte", []uint16{0}, []abi.Descriptor{d(0, 1<<32-1, next, 1), d(0, 2, 0, 0)}, false},
		{"8: indirect, which was not negotiated", []uint16{0}, []abi.Descriptor{d(buffer, 32, indirect, 0)}, false},
		{"8: indirect and next", []uint16{0}, []abi.Descriptor{d(buffer, 32, indirect|next, 1), d(buffer, 1, 0, 0)}, false},
		{"8: indirect, of no multiple of 16", []uint16{0}, []abi.Descriptor{d(buffer, 17, indirect, 0)}, false},
		{"8: indirect, outside of RAM", []uint16{0}, []abi.Descriptor{d(1<<63, 32, indirect, 0)}, false},
		{"8: indirect, behind a direct one", []uint16{0}, []abi.Descriptor{d(buffer, 1, next, 1), d(buffer, 32, indirect, 0)}, false},
		{"9: round the end of addresses", []uint16{0}, []abi.Descriptor{d(1<<64-1, 2, write, 0)}, false},
		{"9: the highest address", []uint16{0}, []abi.Descriptor{d(1<<64-1, 1<<32-1, write, 0)}, false},
		{"9: in the device's own registers", []uint16{0}, []abi.Descriptor{d(0xd000_0000, 4, write, 0)}, false},
		{"9: one beyond RAM", []uint16{0}, []abi.Descriptor{d(top-4, 5, write, 0)}, false},
		{"9: one beyond RAM above the hole", []uint16{0}, []abi.Descriptor{d(virtiotest.High+top-4, 5, write, 0)}, false},
		{"9: from the hole into RAM", []uint16{0}, []abi.Descriptor{d(virtiotest.High-1, 2, write, 0)}, false},
		{"9: one byte behind RAM", []uint16{0}, []abi.Descriptor{d(top, 1, write, 0)}, false},
		{"9: the last bytes of both parts of RAM", []uint16{0}, []abi.Descriptor{d(top-4, 4, next, 1), d(virtiotest.High+top-4, 4, write, 0)}, true},
		{"9: all of RAM", []uint16{0}, []abi.Descriptor{d(0, top, 0, 0)}, true},
		{"9: in the used ring itself", []uint16{0}, []abi.Descriptor{d(buffer, 4, next, 1), d(virtiotest.QueueBase+16*16+38, 4, write, 0)}, true},
		{"10: readable behind writable", []uint16{0}, []abi.Descriptor{d(buffer, 4, next|write, 1), d(buffer, 4, 0, 0)}, false},
		{"10: a header of 15 pieces", []uint16{0}, func() (table []abi.Descriptor) {
			for i := range uint16(15) {
				table = append(table, d(buffer+uint64(i), 1, next, i+1))
			}
			return append(table, d(buffer+64, 15, write, 0))
		}(), true},
		{"flags that mean nothing", []uint16{0}, []abi.Descriptor{d(buffer, 4, 0xfff8, 0)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.device.hold = len(tt.heads) > 1 && !tt.ok // both are in flight
			r.StartWith(0, 2, 16)
			q := r.Queues[0]
			for i, v := range tt.table {
				q.Describe(uint16(i), v)
			}
			for _, head := range tt.heads {
				q.Offer(head)
			}
			q.Notify()
			if !tt.ok {
				r.WaitBroken()
				assert.Zero(t, q.UsedIndex())
			} else if tt.name[:2] != "9:" || tt.table[len(tt.table)-1].Address >= buffer { // the used ring is overwritten
				for range tt.heads {
					q.WaitUsed()
				}
				assert.False(t, r.Broken())
			}
			r.Works()
		})
	}
}

// 14: what was checked is what is used, whatever the driver writes meanwhile; a request is given back once.
func TestHostileRewrite(t *testing.T) {
	r := newRig(t)
	r.device.hold = true
	r.StartWith(0, 2, 16)
	q := r.Queues[0]
	r.Put(virtiotest.Buffers, []byte("copied"))
	q.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 6}, abi.Descriptor{Address: virtiotest.Buffers + 0x100, Length: 6, Flags: abi.DescWrite})
	chain := r.waitHeld()
	q.Describe(0, abi.Descriptor{Address: 0xd000_0000, Length: 1 << 31, Flags: abi.DescIndirect})
	q.Describe(1, abi.Descriptor{Address: 0, Length: 1 << 31})
	r.device.onItsOwn(func() {
		assert.EqualValues(t, 6, chain.Readable())
		assert.EqualValues(t, 6, chain.Writable())
		r.device.copy(chain)
		r.device.queues[0].Use(chain, 6) // again
		r.device.queues[1].Use(chain, 6)
	})
	assert.EqualValues(t, 1, q.UsedIndex())
	assert.EqualValues(t, 6, q.WaitUsed().Length)
	assert.Equal(t, "copied", string(r.Memory.Bytes(t, virtiotest.Buffers+0x100, 6)))
	r.Works()
}

// waitHeld waits until the device holds a request.
func (r *rig) waitHeld() (chain *virtio.Chain) {
	r.T.Helper()
	r.Wait("nothing came", func() bool {
		r.device.locked(func() {
			if len(r.device.held) > 0 {
				chain = r.device.held[0]
			}
		})
		return chain != nil
	})
	return chain
}

// 14: no device tells of more bytes than there was room for.
func TestUsedLengthIsBounded(t *testing.T) {
	r := newRig(t)
	r.device.hold = true
	r.StartWith(0, 2, 16)
	r.Queues[0].Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 6, Flags: abi.DescWrite})
	chain := r.waitHeld()
	r.device.onItsOwn(func() { r.device.queues[0].Use(chain, 1<<32-1) })
	assert.EqualValues(t, 6, r.Queues[0].WaitUsed().Length)
}

// 15: a reset in the middle of a request waits for it, and from then on nothing is written to memory.
func TestResetInFlight(t *testing.T) {
	for _, tt := range []struct {
		name string
		stop func(r *rig)
	}{
		{"reset", func(r *rig) { r.Write(abi.RegStatus, 0) }},
		{"given up", func(r *rig) { r.AddStatus(abi.StatusFailed) }},
		{"closed", func(r *rig) { r.transport.Close() }},
		{"the queue stopped", func(r *rig) { r.Write(abi.RegQueueSel, 0); r.Write(abi.RegQueueReady, 0) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			entered, leave := make(chan struct{}), make(chan struct{})
			var first atomic.Bool
			r.device.hook = func(queue int) {
				if r.Queues[0].UsedIndex() == 0 && queue == 0 && first.CompareAndSwap(false, true) {
					close(entered)
					<-leave
				}
			}
			r.StartWith(0, 2, 16)
			q := r.Queues[0]
			for range 16 {
				q.Offer(q.Chain(abi.Descriptor{Address: virtiotest.Buffers, Length: 8, Flags: abi.DescWrite}))
			}
			q.Notify()
			<-entered
			stopped := make(chan struct{})
			go func() {
				tt.stop(r)
				close(stopped)
			}()
			select {
			case <-stopped:
				assert.Fail(t, "it does not wait for the device")
			default:
			}
			close(leave)
			<-stopped
			r.Memory.Snapshot()
			resets := 0
			r.device.locked(func() { resets = r.device.resets })
			assert.Equal(t, 1, resets)
			q.Notify()
			r.transport.Notify(0)
			r.device.locked(func() {
				for _, q := range r.device.queues {
					q.Wake()
				}
			})
			if tt.name != "closed" {
				r.Write(abi.RegStatus, 0)
			}
			assert.False(t, r.Memory.Changed())
			if tt.name != "closed" {
				r.device.hook = nil
				r.Works()
			}
		})
	}
}

// 15: resets at any time, one behind another.
func TestResetStorm(t *testing.T) {
	r := newRig(t)
	for i := range 2000 {
		r.StartWith(0, 2, 16)
		r.Queues[i%2].Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 8, Flags: abi.DescWrite})
	}
	r.Works()
	assert.Equal(t, 2000, r.device.resets)
}

// 15: a notification before DRIVER_OK does nothing, and nothing is lost by that.
func TestNotifiedTooEarly(t *testing.T) {
	r := newRig(t)
	r.Write(abi.RegQueueNotify, 0)
	r.Negotiate(0)
	q := r.AddQueue(16)
	r.AddQueue(16)
	q.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 8, Flags: abi.DescWrite})
	r.transport.Notify(0)
	assert.Zero(t, q.UsedIndex())
	r.device.locked(func() { assert.Zero(t, r.device.turns) })
	r.Start()
	q.WaitUsed()
	assert.False(t, r.Broken())
}

// A queue that was not set up, or that was stopped, is not served; the other one is.
func TestQueuesApart(t *testing.T) {
	r := newRig(t)
	r.StartWith(0, 1, 16)
	r.Write(abi.RegQueueNotify, 1)
	r.Queues[0].Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 8, Flags: abi.DescWrite})
	r.Queues[0].WaitUsed()

	r.StartWith(0, 2, 16)
	r.Write(abi.RegQueueSel, 0)
	r.Write(abi.RegQueueReady, 0)
	assert.Zero(t, r.Read(abi.RegQueueReady))
	r.Queues[0].Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 8, Flags: abi.DescWrite})
	for range 3 {
		r.Queues[1].Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 8, Flags: abi.DescWrite})
		r.Queues[1].WaitUsed()
	}
	assert.Zero(t, r.Queues[0].UsedIndex())
	assert.False(t, r.Broken())
	r.Works()
}

// The requests in flight of a queue are done although another one is stopped.
func TestQueueStoppedBesideRequestsInFlight(t *testing.T) {
	r := newRig(t)
	r.device.hold = true
	r.StartWith(0, 2, 16)
	q := r.Queues[1]
	for range 3 {
		q.Offer(q.Chain(abi.Descriptor{Address: virtiotest.Buffers, Length: 8, Flags: abi.DescWrite}))
	}
	q.Notify()
	r.Wait("it takes all", func() (all bool) {
		r.device.locked(func() { all = len(r.device.held) == 3 })
		return all
	})
	r.device.locked(func() { r.device.hold = false })
	r.Write(abi.RegQueueSel, 0)
	r.Write(abi.RegQueueReady, 0)
	q.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 8, Flags: abi.DescWrite})
	heads := map[uint32]bool{}
	for range 4 {
		heads[q.WaitUsed().ID] = true
	}
	assert.Len(t, heads, 4, "each once")
	assert.False(t, r.Broken())
	r.Works()
}

// A queue is woken from other goroutines while another one is stopped: no wake-up and no memory is torn (-race).
func TestWokenWhileAnotherQueueStops(t *testing.T) {
	r := newRig(t)
	for range 100 {
		r.StartWith(0, 2, 16)
		q := r.device.queues[1]
		woken := make(chan struct{})
		go func() {
			defer close(woken)
			for range 100 {
				q.Wake()
			}
		}()
		r.Write(abi.RegQueueSel, 0)
		r.Write(abi.RegQueueReady, 0)
		<-woken
	}
	r.Works()
}

// 18: when the driver is interrupted.
func TestInterruptSuppression(t *testing.T) {
	for _, tt := range []struct {
		name       string
		eventIndex bool
		flags      uint16 // of the available ring
		event      uint16 // used_event, behind the start
		start      uint16 // index
		requests   int
		want       bool
	}{
		{"by flags", false, 0, 0, 0, 1, true},
		{"not wanted, by flags", false, abi.RingNoNotify, 0, 0, 1, false},
		{"flags mean nothing with EVENT_IDX", true, abi.RingNoNotify, 0, 0, 1, true},
		{"the index means nothing without", false, 0, 40, 0, 3, true},
		{"the next one", true, 0, 0, 0, 1, true},
		{"not the next one", true, 0, 1, 0, 1, false},
		{"the batch's last", true, 0, 4, 0, 5, true},
		{"within a batch", true, 0, 2, 0, 5, true},
		{"behind a batch", true, 0, 5, 0, 5, false},
		{"passed long ago", true, 0, 0xffff, 0, 5, false},
		{"round the end", true, 0, 3, 0xfffe, 5, true},
		{"not at the end", true, 0, 5, 0xfffe, 5, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			features := uint64(0)
			if tt.eventIndex {
				features = abi.FeatureEventIndex
			}
			r.StartWith(features, 2, 16)
			q := r.Queues[0]
			r.advance(q, tt.start&^15)
			for q.UsedIndex() != tt.start {
				q.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 1})
				q.WaitUsed()
			}
			r.settle()
			r.Write(abi.RegInterruptACK, 3)
			before := r.Edges()
			r.device.locked(func() { // all come in one batch
				q.SetFlags(tt.flags)
				q.SetUsedEvent(tt.start + tt.event)
				for range tt.requests {
					q.Offer(q.Chain(abi.Descriptor{Address: virtiotest.Buffers, Length: 1}))
				}
				q.Notify()
			})
			for range tt.requests {
				q.WaitUsed()
			}
			r.settle()
			assert.Equal(t, tt.want, r.Read(abi.RegInterruptStatus) == abi.InterruptUsed)
			assert.Equal(t, tt.want, r.Edges() == before+1)
		})
	}
}

// settle waits until the device's goroutine has done what it was woken for, interrupts included: a second turn begins when
// the first has ended.
func (r *rig) settle() {
	for range 2 {
		r.device.onItsOwn(func() {})
	}
}

// 18: what is used between an interrupt and its acknowledgement makes no edge, but the driver, which looks behind its
// acknowledgement, sees it; what is used afterwards makes one.
func TestInterruptAcknowledged(t *testing.T) {
	r := newRig(t)
	r.StartWith(0, 2, 16)
	q := r.Queues[0]
	send := func() {
		q.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 1})
		q.WaitUsed()
		r.settle()
	}
	send()
	assert.Equal(t, 1, r.Edges())
	send()
	assert.Equal(t, 1, r.Edges())
	r.Write(abi.RegInterruptACK, abi.InterruptConfig)
	assert.EqualValues(t, abi.InterruptUsed, r.Read(abi.RegInterruptStatus), "another bit")
	r.Write(abi.RegInterruptACK, abi.InterruptUsed)
	assert.Zero(t, r.Read(abi.RegInterruptStatus))
	send()
	assert.Equal(t, 2, r.Edges())
	r.transport.ConfigChanged()
	assert.Equal(t, 3, r.Edges())
	assert.EqualValues(t, abi.InterruptUsed|abi.InterruptConfig, r.Read(abi.RegInterruptStatus))
	assert.EqualValues(t, 1, r.Read(abi.RegConfigGeneration))
	assert.EqualValues(t, 3, r.transport.Counters().Interrupts)
	r.Write(abi.RegStatus, 0)
	assert.Zero(t, r.Read(abi.RegInterruptStatus), "after a reset")
	r.transport.ConfigChanged()
	assert.Equal(t, 3, r.Edges(), "before DRIVER_OK")
}

// 18: with EVENT_IDX neither a notification nor an interrupt is lost, whatever comes at the same time: a driver that notifies
// only when it is asked to, and sleeps until it is interrupted, gets along.
func TestNothingIsLostWithEventIndex(t *testing.T) {
	r := newRig(t)
	woken := make(chan struct{}, 1)
	r.onEdge = func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	r.StartWith(abi.FeatureEventIndex, 2, 16)
	q := r.Queues[0]
	q.Chain(abi.Descriptor{Address: virtiotest.Buffers, Length: 1})
	const requests = 100_000
	var sent, seen uint16
	for total := 0; total < requests; {
		for sent-seen < 4 && (sent == seen || total%3 != 0) { // at times one alone
			q.Offer(q.Chain(abi.Descriptor{Address: virtiotest.Buffers, Length: 1}))
			sent++
			if abi.NeedsEvent(q.AvailableEvent(), sent, sent-1) {
				q.Notify()
			}
		}
		q.SetUsedEvent(seen)
		if q.UsedIndex() == seen {
			select {
			case <-woken:
			case <-time.After(time.Minute):
				require.Fail(t, "it is lost", "%v, index %d of %d", r.transport, seen, sent)
			}
			r.Write(abi.RegInterruptACK, abi.InterruptUsed)
		}
		for ; q.UsedIndex() != seen; seen++ {
			total++
		}
	}
	c := r.transport.Counters()
	t.Logf("%v", c)
	assert.Less(t, c.Interrupts, uint64(requests))
}

// 19: FC #4659: a device behaves by what was accepted, not by what was offered.
func TestAcceptedFeatures(t *testing.T) {
	for _, features := range []uint64{0, abi.FeatureEventIndex} {
		r := newRig(t)
		r.StartWith(features, 2, 16)
		q := r.Queues[0]
		event := r.Memory.Bytes(t, q.Used+abi.AvailableEvent(q.Size), 2)
		binary.LittleEndian.PutUint16(event, 0xabcd)
		q.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 1})
		q.WaitUsed()
		r.settle()
		assert.Equal(t, features != 0, q.AvailableEvent() == 1, "features %#x", features)
		assert.Equal(t, features == 0, q.AvailableEvent() == 0xabcd, "features %#x", features)
	}
}

// 20: a queue that is full does not keep the device from the other for more than a turn.
func TestTurns(t *testing.T) {
	r := newRig(t)
	r.Negotiate(0)
	few, many := r.AddQueue(16), r.AddQueue(256)
	for range 256 {
		many.Offer(many.Chain(abi.Descriptor{Address: virtiotest.Buffers, Length: 1}))
	}
	r.device.hook = func(queue int) { // the first turn of many has begun
		if queue == 1 && few.UsedIndex() == 0 {
			few.Offer(few.Chain(abi.Descriptor{Address: virtiotest.Buffers, Length: 1}))
			r.transport.Notify(0)
		}
	}
	r.Start()
	for range 256 {
		many.WaitUsed()
	}
	few.WaitUsed()
	r.settle()
	want := append(append(slices.Repeat([]int{1}, 64), 0), slices.Repeat([]int{1}, 3*64)...)
	r.device.locked(func() { assert.Equal(t, want, r.device.order) })
}

// What the driver left in the queues is served when the machine has ended, however much it is; nothing is afterwards.
func TestFinish(t *testing.T) {
	r := newRig(t)
	r.Negotiate(0)
	r.AddQueue(16)
	q := r.AddQueue(256)
	r.Start()
	r.settle()
	for range 256 { // without a notification
		q.Offer(q.Chain(abi.Descriptor{Address: virtiotest.Buffers, Length: 1}))
	}
	r.transport.Finish()
	assert.EqualValues(t, 256, q.UsedIndex())
	assert.EqualValues(t, 256, r.transport.Counters().Requests)
	assert.Contains(t, r.transport.String(), "status 0xf (acknowledged, driver, features ok, driver ok), features 0x100000000, "+
		"interrupt status 0x1; queue 0 of 16, available index 0, used index 0; queue 1 of 256, available index 256, used index 256; 256 requests")
	r.transport.Finish()
	require.NoError(t, r.transport.Close())
	assert.Zero(t, r.Read(abi.RegMagic), "closed")
	r.Write(abi.RegStatus, 0)
	assert.Contains(t, r.transport.String(), "status 0xf")
}
