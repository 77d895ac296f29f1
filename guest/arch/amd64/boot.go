package amd64

// Written by the doors (entry_amd64.s).
var (
	doorInfo uint64 // physical address of the BootInfo, by the direct door
	doorPVH  uint64 // physical address of hvm_start_info, by the PVH door; else 0
	bootTSC  uint64 // the time-stamp counter at the first instruction
)

const (
	pageSize  = 4096
	stackSize = 32 << 10
)
var stack [stackSize + 2*pageSize]byte
var bootTables [4 * pageSize]byte
// imageTasks is written by mkimage: where the image's task objects are, physical, and
// how many bytes they have. It must not be zero here, so that it lies in initialised data.
var imageTasks = [2]uint64{^uint64(0), 0}
