package bench

import "slices"

// goals are what the project wants its counts to be at the most: instructions under QEMU's
// emulator, KiB of memory by the direct door, bytes of code and constants. Booting, memory and size have
// their goals for the minimal board.
var goals = map[string]float64{
	"NullCommand":            110,
	"YieldNoWait":            100,
	"Subscribe":              310,
	"Memop":                  120,
	"UpcallRoundTrip":        320,
	"TaskSwitch":             550,
	"IPCBuffer":              1700,
	"InterruptToCapsule":     300,
	"InterruptToTask":        1000,
	"AlarmLatency":           850,
	"VirtioConsoleWrite4096": 3500,
	"ServiceCall":            2500,
	"NullCommand32":          180,
	"UpcallRoundTrip32":      460,
	"KernelPclntab":          66_000,
	"MinimalMemory":          640,
	"MinimalFirstTask":       45_000,
	"MinimalTextRodata":      90_112,
}

// goalsOfExits are what it wants exits to the monitor to be at the most, for an operation.
var goalsOfExits = map[string]float64{"VirtioConsoleWrite4096": 2}

// Goal returns what a count is to be at the most, if there is a goal for it.
func Goal(name string) (most float64, ok bool) {
	most, ok = goals[name]
	return most, ok
}

// GoalOfExits returns how many exits to the monitor an operation of a path is to take at the most, if there is a goal for them.
func GoalOfExits(name string) (most float64, ok bool) {
	most, ok = goalsOfExits[name]
	return most, ok
}

// Lacks returns what a run of all paths should have and has not: paths that the image skipped,
// and counts for which there is a goal.
func (r *Run) Lacks() []string {
	var names []string
	for _, s := range r.Skipped {
		names = append(names, s.Name)
	}
	for name := range goals {
		if !slices.Contains(r.Names(), name) {
			names = appendNew(names, name)
		}
	}
	slices.Sort(names)
	return names
}
