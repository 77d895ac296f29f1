// Package bugs lists the isolation bugs that Tock had, by the numbers of their reports at
// https://github.com/tock/tock, and which tests show that Kapsel has none of that kind.
// Those that "TickTock: Verified Isolation in a Production Embedded OS" (SOSP 2025) found
// come first.
package bugs

// A Bug is one that was in Tock.
type Bug struct {
	Report string // numbers of the report and its fix
	What   string // what was wrong
	Here   string // what holds here instead
	Tests  []Test
}

// A Test is a test function of a package of this module.
type Test struct{ Package, Name string }

const (
	kernel    = "guest/kernel"
	arch      = "guest/arch/amd64"
	isolation = "tests/isolation"
	boot      = "tests/boot"
)

var edges = Test{isolation, "TestEdges"}

// All are the bugs.
var All = []Bug{
	{"4366, 4384", "the last protected piece of an application's memory reached into its grants",
		"what the task can touch ends at or below the grants",
		[]Test{{isolation, "TestGrantsLieOutsideOfWhatTheTaskCanTouch"}, {kernel, "TestGrantsNeverMeetThePagesOfTheTask"}, {kernel, "FuzzSystemCalls"}}},
	{"4384", "a limit was checked on another value than the one that was programmed",
		"the mapped pages are compared with the kernel's view after every call",
		[]Test{{kernel, "FuzzSystemCalls"}, {arch, "TestMapRangeChoosesPages"}, edges}},
	{"4246, 2789", "a handler left the processor privileged, and the process ran so",
		"after each interrupt and each call the task is in ring 3, and privileged instructions fault",
		[]Test{{isolation, "TestTaskStaysInRing3"}, {boot, "TestIntruder"}}},
	{"4245", "an interrupt returned to the process and not to the kernel",
		"each interrupt enters the kernel first, and no task keeps the processor",
		[]Test{{boot, "TestSpinningTask"}, {kernel, "TestTaskThatOnlyCallsIsPreempted"}, {arch, "TestSwitchDecodesInterrupts"}}},
	{"private report", "brk to the start of memory, or below it, wrapped around and stopped the kernel",
		"any break is moved, or refused with NOMEM and left alone",
		[]Test{{isolation, "TestHostileArguments"}, {kernel, "TestMemopRules"}, {isolation, "TestStress"}}},
	{"4104, 4135", "an empty region became one of the whole address space",
		"a task that asks for no memory gets one page, and nothing behind it",
		[]Test{{isolation, "TestTaskThatAsksForNoMemory"}, {arch, "TestEdgesOfMappings"}}},
	{"4371", "a restart forgot that a driver still held a buffer",
		"a driver has nothing of an earlier life: buffers are looked up for each access",
		[]Test{{isolation, "TestRestartWithASharedBuffer"}, {kernel, "TestStaleHandles"}, {kernel, "TestExit"}}},
	{"4392", "sbrk added without a look at overflow",
		"all arithmetic on addresses is checked",
		[]Test{{isolation, "TestHostileArguments"}, {kernel, "TestMemopRules"}, {isolation, "TestStress"}}},

	{"297, 413", "a size off by one let an application write below its memory",
		"a byte outside of every edge faults, for read, write and execute", []Test{edges}},
	{"411", "an empty share took the place of a live one",
		"an empty share changes its own slot alone", []Test{{isolation, "TestEmptyShares"}}},
	{"1114", "a buffer was checked against the whole memory block, grants included",
		"a buffer must end at or below the break", []Test{{isolation, "TestHostileArguments"}, {kernel, "TestAllowRules"}}},
	{"1141, 1144", "the break could go below a shared buffer, and a grant grew into it",
		"the break stays above all that was shared",
		[]Test{{isolation, "TestBreakBelowASharedBuffer"}, {kernel, "TestBreakStaysAboveSharedBuffers"}}},
	{"1185", "the compiler moved code across the switch, so the reason of a stop was an old one",
		"the reason is a value that the switch returns",
		[]Test{{arch, "TestSwitchDecodesSystemCalls"}, {arch, "TestSwitchDecodesFaults"}, {isolation, "TestTrapStorm"}, {boot, "TestIntruder"}}},
	{"1287, 1290", "memory of a process was executable",
		"executing data, stack or heap faults", []Test{edges, {boot, "TestIntruder"}}},
	{"1905", "drivers could keep buffers and callbacks that were taken back",
		"a handle is dead when its entry ends", []Test{{kernel, "TestStaleHandles"}, {kernel, "TestBuffers"}, {kernel, "TestSubscribeDropsWaitingUpcalls"}}},
	{"2076, 2947, 4894", "the upper bound of a region was too large",
		"a byte outside of every edge faults, for read, write and execute", []Test{edges, {arch, "TestEdgesOfMappings"}}},
	{"2135, 2137", "a grant entered twice gave two references to the same value",
		"the inner entry is refused and counted", []Test{{kernel, "TestNestedEntryIsRefusedAndCounted"}}},
	{"2146", "a restart kept the grown break as the limit of what the process may touch",
		"a restart begins with the first break", []Test{{isolation, "TestRestartWithAGrownBreak"}, {kernel, "TestRestartedTaskProbesItsOldBreak"}}},
	{"2173", "a process could read its grants",
		"reading a grant faults", []Test{{isolation, "TestGrantsLieOutsideOfWhatTheTaskCanTouch"}, edges}},
	{"2464", "the pointer of an empty buffer was any pointer",
		"nothing is done with it but to hand it back", []Test{{isolation, "TestEmptyShares"}, {kernel, "TestEmptyBufferIsNeverTouched"}}},
	{"2632", "a buffer that was shared twice was two slices of the same memory",
		"shares may overlap, and drivers copy", []Test{{isolation, "TestOverlappingShares"}, {kernel, "TestBuffers"}}},
	{"3541", "protection slots that a process did not use kept those of the one before",
		"every task has page tables of its own", []Test{{isolation, "TestTaskWithLessAfterATaskWithMore"}, {arch, "TestSpacesShareTheKernelAndNothingElse"}}},
	{"1993", "a share succeeded though the hardware could not protect it",
		"what cannot be protected is refused when the task is loaded", []Test{{kernel, "TestNoPageTables"}, {arch, "TestTablesRunOut"}}},
	{"3109, 5189, 5193", "exceptions on the heels of others confused the direction of the switch",
		"whatever a task raises ends that task alone", []Test{{isolation, "TestTrapStorm"}}},
}
