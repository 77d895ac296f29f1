// Package adc is driver 0x5: samples of a converter's channels for tasks. Numbers, commands and errors are those of Tock's driver that
// several tasks share (capsules/core/src/adc.rs, AdcVirtualized). Tasks that ask take turns.
package adc

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	channels   = 0   // how many there are
	sample     = 1   // channel a0
	resolution = 101 // of channel a0, in bits
	reference  = 102 // of channel a0, in millivolts
)

// sampled is the subscribe number: mode, channel, sample. The mode is one of these, or abi.FAIL if the capsule has failed: there is no sample.
const (
	sampled      = 0
	singleSample = 0
	noMode       = 1<<32 - 1 // Kapsel's: there is no sample, the converter has failed
)

// ADC is the driver.
type ADC struct {
	converter hil.ADC
	grant     kernel.Grant[request]
	busy      bool
	asker     kernel.TaskID // whose sample it is, while busy
	tickets   uint64        // turns ever waited for
}

// request is what a task asked for.
type request struct {
	ticket  uint64 // order of turns; 0: nothing is asked for
	channel uint32
}

// Init ties the driver to its converter, of which it is the only client.
func (a *ADC) Init(k *kernel.Kernel, converter hil.ADC, c capability.MemoryAllocation) {
	a.converter = converter
	a.grant.Init(k, abi.DriverADC, kernel.SlotCounts{Upcalls: sampled + 1, Ends: kernel.EndsFailed(sampled)}, c)
	converter.SetADCClient(a)
}

// Slots implements kernel.Driver.
func (a *ADC) Slots() *kernel.Slots { return a.grant.Slots() }

// Command implements kernel.Driver.
func (a *ADC) Command(id kernel.TaskID, command, a0, _ uint32) kernel.Result {
	n := a.converter.Channels()
	if n == 0 {
		return kernel.Failed(abi.NODEVICE)
	}
	switch command {
	case channels:
		return kernel.Value(n)
	case sample, resolution, reference:
		if a0 >= n {
			return kernel.Failed(abi.NODEVICE)
		}
		return a.of(id, command, a0)
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// of serves a command about a channel that there is.
func (a *ADC) of(id kernel.TaskID, command, channel uint32) kernel.Result {
	switch command {
	case sample:
		return kernel.Outcome(a.sample(id, channel))
	case resolution:
		return kernel.Value(a.converter.ResolutionBits())
	}
	if v := a.converter.ReferenceMillivolts(); v != 0 {
		return kernel.Value(v)
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// sample asks for a sample. A task has one under way.
func (a *ADC) sample(id kernel.TaskID, channel uint32) abi.ErrorCode {
	busy := false
	e := a.grant.Enter(id, func(q *request, _ *kernel.TaskData) {
		if busy = q.ticket != 0; !busy {
			a.tickets++
			*q = request{ticket: a.tickets, channel: channel}
		}
	})
	switch {
	case e != abi.OK:
		return e
	case busy:
		return abi.BUSY
	}
	a.serveOldest()
	return abi.OK
}

// serveOldest has the converter, if it is free, sample for the task that waits longest for its turn.
func (a *ADC) serveOldest() {
	for !a.busy {
		id, ticket := a.grant.Oldest(func(q *request) uint64 { return q.ticket })
		if ticket == 0 {
			return
		}
		channel := uint32(0)
		a.grant.Enter(id, func(q *request, _ *kernel.TaskData) { channel = q.channel })
		a.busy, a.asker = true, id
		if e := a.converter.Sample(channel); e != abi.OK {
			a.deliver(0, e)
		}
	}
}

// Sampled implements hil.ADCClient.
func (a *ADC) Sampled(v uint16, e abi.ErrorCode) {
	if !a.busy {
		return
	}
	a.deliver(v, e)
	a.serveOldest()
}

// deliver tells the task whose turn it is of its sample, or that there is none.
func (a *ADC) deliver(v uint16, e abi.ErrorCode) {
	a.busy = false
	a.grant.Enter(a.asker, func(q *request, task *kernel.TaskData) {
		if q.ticket == 0 {
			return
		}
		mode := uint32(singleSample)
		if e != abi.OK {
			mode = noMode
		}
		task.ScheduleUpcall(sampled, mode, q.channel, uint32(v))
		*q = request{}
	})
}
