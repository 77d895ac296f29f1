package amd64

// kvmClock is where KVM tells how its clock, in nanoseconds, goes with the time-stamp counter
// (struct pvclock_vcpu_time_info, linux/arch/x86/include/asm/pvclock-abi.h).
var kvmClock struct {
	version, _ uint32
	tsc        uint64 // counter at which the clock was at time
	time       uint64
	multiplier uint32 // nanoseconds = (ticks << shift) * multiplier >> 32
	shift      int8   // negative: to the right
	flags      uint8
	_          [2]uint8
}

// kvmClockHz asks KVM for the frequency of the time-stamp counter, and for no more. It returns
// 0 if KVM does not say.
func kvmClockHz() uint64 {
	const enable = 1
	wrmsr(msrKVMClock, physicalOfImage(&kvmClock)|enable)
	wrmsr(msrKVMClock, 0)
	return clockHz(kvmClock.multiplier, kvmClock.shift)
}
