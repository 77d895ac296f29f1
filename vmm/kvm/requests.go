package kvm

// Requests are ioctl numbers (ioctl(2)) by what a process makes them for, so that one that confines itself can keep those alone (package confine).

// RunRequests are those of a machine that was made before: it runs, and tells what state it is in.
func RunRequests() []uintptr {
	return numbers(runVCPU, signalMSI, setGSIRouting, injectNMI, setGuestDebug, getRegs, getSregs, getMPState, translate)
}

// SnapshotRequests are those that are made beside, when snapshots are taken, and a machine goes back to one.
func SnapshotRequests() []uintptr {
	return numbers(checkExtension, setUserMemoryRegion, getDirtyLog, setRegs, setSregs, setMPState, getXSave, getXSave2, setXSave, getXCRs, setXCRs,
		getDebugRegs, setDebugRegs, getLAPIC, setLAPIC, getMSRs, setMSRs, getEvents, setEvents, getTSCKHz, getDeviceAttr, setDeviceAttr)
}

// MakeRequests are those that are made beside, when a machine is made.
func MakeRequests() []uintptr {
	return numbers(getAPIVersion, createVM, checkExtension, getVCPUMmapSize, getSupportedCPUID, createVCPU, setTSSAddr, enableCap,
		ioeventfd, setCPUID2, setMSRFilter)
}

// numbers are requests as numbers.
func numbers(requests ...request) (all []uintptr) {
	for _, r := range requests {
		all = append(all, uintptr(r))
	}
	return all
}
