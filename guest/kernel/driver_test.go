package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

// numbered is a driver that knows its number.
type numbered struct{ number uint32 }

func (*numbered) Command(TaskID, uint32, uint32, uint32) Result { return Done() }
func (*numbered) Slots() *Slots                                 { return nil }

// samePlace are n numbers whose own place in the table is the same.
func samePlace(n int) []uint32 {
	var t driverTable
	list := []uint32{1}
	for number := uint32(2); len(list) < n; number++ {
		if t.place(number, 0) == t.place(1, 0) {
			list = append(list, number)
		}
	}
	return list
}

func TestDriversAreFoundByNumber(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	scattered := map[uint32]bool{}
	for len(scattered) < maxDrivers {
		scattered[random.Uint32()] = true
	}
	var numbers []uint32
	for n := range scattered {
		numbers = append(numbers, n)
	}
	for _, tt := range []struct {
		name    string
		numbers []uint32
	}{
		{"none", nil},
		{"number 0", []uint32{0}},
		{"from 0 on", []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"those of Tock", []uint32{0, 1, 2, 3, 4, 5, 7, 8, 9, 0x10000, 0x20001, 0x30001, 0x40001, 0x50000, 0x50001, 0x60000, 0x80000, 0x90000, 0xf0000}},
		{"all at one place", samePlace(maxDrivers)},
		{"as many as there can be", numbers},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var k Kernel
			for _, n := range tt.numbers {
				k.AddDriver(n, &numbered{n})
			}
			for _, n := range tt.numbers {
				if assert.NotNil(t, k.drivers.find(n), "driver %#x", n) {
					assert.Equal(t, n, k.drivers.find(n).(*numbered).number)
				}
			}
			have := map[uint32]bool{}
			for _, n := range tt.numbers {
				have[n] = true
			}
			for _, n := range append([]uint32{0, 1, 63, 64, ^uint32(0)}, samePlace(2*driverPlaces)...) {
				assert.Equal(t, have[n], k.drivers.find(n) != nil, "driver %#x", n)
			}
		})
	}
}

func TestAddDriverRefuses(t *testing.T) {
	var k Kernel
	k.AddDriver(0, &numbered{0})
	assert.Panics(t, func() { k.AddDriver(0, &numbered{0}) }, "twice the same number")
	assert.Panics(t, func() { k.AddDriver(1, nil) }, "none")
	for n := uint32(1); n < maxDrivers; n++ {
		k.AddDriver(n, &numbered{n})
	}
	assert.Panics(t, func() { k.AddDriver(maxDrivers, &numbered{maxDrivers}) }, "more than there can be")

	k = Kernel{sealed: true}
	assert.Panics(t, func() { k.AddDriver(1, &numbered{1}) }, "behind Load")
}
