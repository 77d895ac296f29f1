package hil

import "kapsel/guest/abi"

// Regions hands out parts of a NonvolatileStorage: one for each driver and owner, kept while the machine is off. No two have a
// byte in common.
type Regions interface {
	// SetRegionsClient sets who is called. It is called once, before anything else.
	SetRegionsClient(client RegionsClient)
	// FindRegion is where the region of a driver and an owner begins in the storage, and how many bytes it has: 0 if there is
	// no such region.
	FindRegion(driver, owner uint32) (address, size uint64)
	// NewRegionSize is how many bytes the next new region has: 0 if there can be no more.
	NewRegionSize() uint64
	// AllocateRegion makes a region of a driver and an owner, which have none, and then calls RegionAllocated. It returns
	// abi.BUSY while another is being made, abi.NOMEM if there can be no more, and what a Write to the storage returns.
	AllocateRegion(driver, owner uint32) abi.ErrorCode
}

// RegionsClient is who a Regions calls.
type RegionsClient interface {
	// RegionAllocated says that the region is there to stay, with abi.OK, or with another error that this request made none.
	RegionAllocated(e abi.ErrorCode)
}
