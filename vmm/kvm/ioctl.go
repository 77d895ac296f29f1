package kvm

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// request is an ioctl number: direction, argument size, KVM's type 0xae and a number, as
// _IO, _IOR, _IOW and _IOWR of linux/asm-generic/ioctl.h pack them.
type request uintptr

const (
	dirWrite = 1 << 30
	dirRead  = 2 << 30
	kvmio    = 0xae << 8
	sizePos  = 16
)

// The requests (linux/uapi/linux/kvm.h); getAPIVersion is number 0. A cpuid, MSR or routing table counts with its header alone.
const (
	getAPIVersion       request = kvmio
	createVM            request = kvmio | 0x01
	checkExtension      request = kvmio | 0x03
	getVCPUMmapSize     request = kvmio | 0x04
	getSupportedCPUID   request = dirRead | dirWrite | cpuidHeader<<sizePos | kvmio | 0x05
	createVCPU          request = kvmio | 0x41
	setUserMemoryRegion request = dirWrite | request(unsafe.Sizeof(MemoryRegion{}))<<sizePos | kvmio | 0x46
	getDirtyLog         request = dirWrite | request(unsafe.Sizeof(dirtyLog{}))<<sizePos | kvmio | 0x42
	setTSSAddr          request = kvmio | 0x47
	ioeventfd           request = dirWrite | request(unsafe.Sizeof(ioEvent{}))<<sizePos | kvmio | 0x79
	setGSIRouting       request = dirWrite | routingHeader<<sizePos | kvmio | 0x6a
	runVCPU             request = kvmio | 0x80
	getRegs             request = dirRead | request(unsafe.Sizeof(Regs{}))<<sizePos | kvmio | 0x81
	setRegs             request = dirWrite | request(unsafe.Sizeof(Regs{}))<<sizePos | kvmio | 0x82
	getSregs            request = dirRead | request(unsafe.Sizeof(Sregs{}))<<sizePos | kvmio | 0x83
	setSregs            request = dirWrite | request(unsafe.Sizeof(Sregs{}))<<sizePos | kvmio | 0x84
	translate           request = dirRead | dirWrite | request(unsafe.Sizeof(Translation{}))<<sizePos | kvmio | 0x85
	getMSRs             request = dirRead | dirWrite | msrHeader<<sizePos | kvmio | 0x88
	setMSRs             request = dirWrite | msrHeader<<sizePos | kvmio | 0x89
	getLAPIC            request = dirRead | lapicSize<<sizePos | kvmio | 0x8e
	setLAPIC            request = dirWrite | lapicSize<<sizePos | kvmio | 0x8f
	setCPUID2           request = dirWrite | cpuidHeader<<sizePos | kvmio | 0x90
	getMPState          request = dirRead | 4<<sizePos | kvmio | 0x98
	setMPState          request = dirWrite | 4<<sizePos | kvmio | 0x99
	getTSCKHz           request = kvmio | 0xa3
	injectNMI           request = kvmio | 0x9a
	setGuestDebug       request = dirWrite | request(unsafe.Sizeof(guestDebug{}))<<sizePos | kvmio | 0x9b
	getEvents           request = dirRead | request(unsafe.Sizeof(Events{}))<<sizePos | kvmio | 0x9f
	setEvents           request = dirWrite | request(unsafe.Sizeof(Events{}))<<sizePos | kvmio | 0xa0
	getDebugRegs        request = dirRead | request(unsafe.Sizeof(DebugRegs{}))<<sizePos | kvmio | 0xa1
	setDebugRegs        request = dirWrite | request(unsafe.Sizeof(DebugRegs{}))<<sizePos | kvmio | 0xa2
	enableCap           request = dirWrite | request(unsafe.Sizeof(capability{}))<<sizePos | kvmio | 0xa3
	signalMSI           request = dirWrite | request(unsafe.Sizeof(MSI{}))<<sizePos | kvmio | 0xa5
	getXSave            request = dirRead | minXSave<<sizePos | kvmio | 0xa4
	setXSave            request = dirWrite | minXSave<<sizePos | kvmio | 0xa5
	getXCRs             request = dirRead | request(unsafe.Sizeof(XCRs{}))<<sizePos | kvmio | 0xa6
	setXCRs             request = dirWrite | request(unsafe.Sizeof(XCRs{}))<<sizePos | kvmio | 0xa7
	setMSRFilter        request = dirWrite | request(unsafe.Sizeof(msrFilter{}))<<sizePos | kvmio | 0xc6
	getStatsFD          request = kvmio | 0xce
	getXSave2           request = dirRead | minXSave<<sizePos | kvmio | 0xcf
	setDeviceAttr       request = dirWrite | request(unsafe.Sizeof(deviceAttr{}))<<sizePos | kvmio | 0xe1
	getDeviceAttr       request = dirWrite | request(unsafe.Sizeof(deviceAttr{}))<<sizePos | kvmio | 0xe2
)

var requestNames = map[request]string{
	getAPIVersion:       "KVM_GET_API_VERSION",
	createVM:            "KVM_CREATE_VM",
	checkExtension:      "KVM_CHECK_EXTENSION",
	getVCPUMmapSize:     "KVM_GET_VCPU_MMAP_SIZE",
	getSupportedCPUID:   "KVM_GET_SUPPORTED_CPUID",
	createVCPU:          "KVM_CREATE_VCPU",
	setUserMemoryRegion: "KVM_SET_USER_MEMORY_REGION",
	getDirtyLog:         "KVM_GET_DIRTY_LOG",
	setTSSAddr:          "KVM_SET_TSS_ADDR",
	ioeventfd:           "KVM_IOEVENTFD",
	setGSIRouting:       "KVM_SET_GSI_ROUTING",
	runVCPU:             "KVM_RUN",
	getRegs:             "KVM_GET_REGS",
	setRegs:             "KVM_SET_REGS",
	getSregs:            "KVM_GET_SREGS",
	setSregs:            "KVM_SET_SREGS",
	translate:           "KVM_TRANSLATE",
	getMSRs:             "KVM_GET_MSRS",
	setMSRs:             "KVM_SET_MSRS",
	setCPUID2:           "KVM_SET_CPUID2",
	getLAPIC:            "KVM_GET_LAPIC",
	setLAPIC:            "KVM_SET_LAPIC",
	getMPState:          "KVM_GET_MP_STATE",
	setMPState:          "KVM_SET_MP_STATE",
	getEvents:           "KVM_GET_VCPU_EVENTS",
	setEvents:           "KVM_SET_VCPU_EVENTS",
	getDebugRegs:        "KVM_GET_DEBUGREGS",
	setDebugRegs:        "KVM_SET_DEBUGREGS",
	getXSave:            "KVM_GET_XSAVE",
	setXSave:            "KVM_SET_XSAVE",
	getXSave2:           "KVM_GET_XSAVE2",
	getXCRs:             "KVM_GET_XCRS",
	setXCRs:             "KVM_SET_XCRS",
	setMSRFilter:        "KVM_X86_SET_MSR_FILTER",
	setDeviceAttr:       "KVM_SET_DEVICE_ATTR",
	getDeviceAttr:       "KVM_GET_DEVICE_ATTR",
	getTSCKHz:           "KVM_GET_TSC_KHZ",
	injectNMI:           "KVM_NMI",
	setGuestDebug:       "KVM_SET_GUEST_DEBUG",
	enableCap:           "KVM_ENABLE_CAP",
	signalMSI:           "KVM_SIGNAL_MSI",
	getStatsFD:          "KVM_GET_STATS_FD",
}

// String returns KVM's name of the request.
func (r request) String() string {
	if name, ok := requestNames[r]; ok {
		return name
	}
	return fmt.Sprintf("KVM request %#x", uintptr(r))
}

// Error is a KVM call that the host's kernel refused. It unwraps to the errno.
type Error struct {
	Call  string // KVM's name: "KVM_CREATE_VM"
	Errno syscall.Errno
}

// Error returns the call and the errno in words and by name.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %v (%s)", e.Call, e.Errno, unix.ErrnoName(e.Errno))
}

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.Errno }

// ioctlPointer makes a call that takes a structure, and again if a signal came between.
func ioctlPointer(fd int, r request, arg unsafe.Pointer) (int, error) {
	for {
		n, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), uintptr(r), uintptr(arg))
		if errno == 0 {
			return int(n), nil
		}
		if errno != syscall.EINTR {
			return 0, &Error{r.String(), errno}
		}
	}
}

// ioctl makes a call that takes a number, and again if a signal came between.
func ioctl(fd int, r request, arg uintptr) (int, error) {
	for {
		n, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), uintptr(r), arg)
		if errno == 0 {
			return int(n), nil
		}
		if errno != syscall.EINTR {
			return 0, &Error{r.String(), errno}
		}
	}
}

// handle is the descriptor of a VM or of a processor, with the count of the calls that both make.
type handle struct {
	fd    int
	calls *atomic.Uint64
}

// call makes a call that takes a number.
func (h *handle) call(r request, arg uintptr) (int, error) {
	h.calls.Add(1)
	return ioctl(h.fd, r, arg)
}

// callPointer makes a call that takes a structure.
func (h *handle) callPointer(r request, arg unsafe.Pointer) (int, error) {
	h.calls.Add(1)
	return ioctlPointer(h.fd, r, arg)
}

// Calls is how many calls were made of a VM and its processors, but for KVM_RUN.
func (h *handle) Calls() uint64 { return h.calls.Load() }

// closeFD closes *fd once; -1 marks it closed.
func closeFD(fd *int, name string) error {
	if *fd < 0 {
		return nil
	}
	err := unix.Close(*fd)
	*fd = -1
	if err != nil {
		return fmt.Errorf("closing the %s: %w", name, err)
	}
	return nil
}
