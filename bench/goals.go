package bench

// goals are what the project wants its counts to be at the most: instructions under QEMU's
// emulator, KiB of memory, bytes of code and constants.
var goals = map[string]float64{
	"NullCommand":        150,
	"YieldNoWait":        150,
	"UpcallRoundTrip":    450,
	"TaskSwitch":         500,
	"InterruptToCapsule": 300,
	"BootFirstTask":      60_000,
	"SmallestMemory":     1024,
	"KernelTextRodata":   98_304,
}

// Goal returns what a count is to be at the most, if there is a goal for it.
func Goal(name string) (most float64, ok bool) {
	most, ok = goals[name]
	return most, ok
}
