package kernel

import "kapsel/guest/kernel/capability"

// Driver is the face of a capsule towards tasks: what answers system calls for one
// driver number.
type Driver interface {
	// Command serves system call class Command. It returns at once; long work ends with
	// an upcall. Command number 0 asks whether the driver is there; an unknown number is
	// answered with abi.NOSUPPORT. Each command has one success and one failure variant.
	Command(id TaskID, command, a0, a1 uint32) Result
	// Slots is the driver's grant as the kernel needs it to serve Subscribe and Allow:
	// the Slots of its Grant. It is nil for a driver that has neither upcalls nor buffers.
	Slots() *Slots
}

// Capsule is a driver that needs nothing of the board but memory in tasks.
type Capsule interface {
	// Init ties the driver to the kernel: it makes its grant and its deferred calls, and adds itself
	// by Kernel.AddDriver.
	Init(k *Kernel, c capability.MemoryAllocation)
}

// Platform is what the kernel asks of the board.
type Platform interface {
	// Interrupt serves an interrupt line that CPU.NextInterrupt named: one bounded piece of
	// work. A driver whose device asks for more by then sets a deferred call.
	Interrupt(line int)
}

// maxDrivers is the number of drivers of the whole system: half of the table's places, so that
// a search ends soon.
const maxDrivers = driverPlaces / 2

// driverPlaces is a power of two, 1 << (32 - driverShift).
const (
	driverPlaces = 128
	driverShift  = 25
)

// driverTable has the drivers by number, each at the first free place from its number's own on,
// round the end. So what finding one costs depends neither on its number nor on how many there are.
type driverTable struct {
	_      notComparable
	count  int
	places [driverPlaces]driverPlace
}

// driverPlace is free if its key is 0.
type driverPlace struct {
	_      notComparable
	driver Driver
	key    uint64
	nth    int // of the drivers that were added
}

// taken is in the key of every place that is taken.
const taken = 1 << 32

// key is how a place says whose it is.
func key(number uint32) uint64 { return taken | uint64(number) }

// place is the i-th place to look for a number at. The factor scatters numbers that lie close to
// each other: 2^32 divided by the golden ratio.
func (t *driverTable) place(number, i uint32) *driverPlace {
	return &t.places[(number*0x9e3779b1>>driverShift+i)%driverPlaces]
}

// of is the place of a driver's number, free if no driver has it.
func (t *driverTable) of(number uint32) *driverPlace {
	for i := uint32(0); ; i++ {
		if p := t.place(number, i); p.key == key(number) || p.key == 0 {
			return p
		}
	}
}

// find is the driver with that number, or nil.
func (t *driverTable) find(number uint32) Driver {
	for i := uint32(0); ; i++ {
		if p := t.place(number, i); p.key == key(number) || p.key == 0 {
			return p.driver
		}
	}
}

// AddDriver gives the driver its number. It is called before the first Load, with a number that
// no other driver has, for 64 drivers at most: otherwise it is a wiring error.
func (k *Kernel) AddDriver(number uint32, d Driver) {
	t := &k.drivers
	p := t.of(number)
	if d == nil || k.sealed || t.count == maxDrivers || p.driver != nil {
		panic(misuse + "a driver is nil, has another's number, or comes after Load or beyond 64")
	}
	p.key, p.driver, p.nth = key(number), d, t.count
	t.count++
}

// gone is in the key of a place whose driver's capsule failed: nothing finds it.
const gone = 1 << 33

// rekey gives the places of some drivers that were added, by their order, a key with that mark, if they have no driver now. They are then
// found, or not.
func (t *driverTable) rekey(added span, mark uint64) {
	for i := range t.places {
		if p := &t.places[i]; p.driver == nil && p.in(added) {
			p.key = mark | uint64(uint32(p.key))
		}
	}
}

// drop takes the drivers out of those places.
func (t *driverTable) drop(added span) {
	for i := range t.places {
		if p := &t.places[i]; p.in(added) {
			p.driver = nil
		}
	}
	t.rekey(added, gone)
}

// in reports whether a place is of one of some drivers that were added.
func (p *driverPlace) in(added span) bool {
	return p.key != 0 && p.nth >= added.from && p.nth < added.to
}
