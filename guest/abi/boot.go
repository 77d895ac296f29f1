package abi

// The contract between a monitor and the kernel: how the direct door is entered.
//
// The monitor loads the image anywhere in RAM below 4 GiB, on a page boundary and behind its
// first page: the image is what lies between the first and the last byte of its PT_LOADs, and
// keeps its shape. Then the monitor enters e_entry with
//   - 64-bit mode, CPL 0, interrupts off, CPUID as the guest is to see it;
//   - CR0 = PE|MP|ET|NE|WP|PG, CR4 = PAE|OSFXSR|OSXMMEXCPT, EFER = SCE|LME|LMA|NXE;
//   - page tables in which x maps to physical x for the first GiB, or for all of RAM if there
//     is less, and p_vaddr of each PT_LOAD to where it was loaded; all of it writeable and
//     executable (the kernel replaces them at once);
//   - RDI = the physical address of a BootInfo, 8-byte aligned, in the first GiB;
//   - all other registers, the GDT, the IDT and the TSS are not looked at.
//
// What the monitor needs for this (page tables, BootInfo, command line) lies outside of the
// image and below BootInfo.Free.
//
// A PVH loader loads each PT_LOAD at its p_paddr, which is p_vaddr - KernelBase.
const (
	// KernelBase is the virtual address of physical 0 for an image that was loaded as it says.
	KernelBase = 0xffff_ffff_8000_0000
	// DirectMap is the virtual address of physical 0 in the kernel's map of all RAM.
	DirectMap = 0xffff_8000_0000_0000
	// KernelEnd is where the kernel's code, constants and variables, as they are linked, end at the latest. The two
	// pages from there on have the registers of the I/O APIC and of the local APIC: the page table that maps the image
	// maps them, too.
	KernelEnd = KernelBase + 4<<20 - 2*PageSize
	// LowMemoryEnd ends the memory that belongs to the firmware: no p_paddr lies below.
	LowMemoryEnd = 1 << 20
	// MMIOHole and MMIOHoleEnd bound the physical addresses below 4 GiB that are never RAM.
	MMIOHole    = 0xc000_0000
	MMIOHoleEnd = 1 << 32
	// RAMEnd is where RAM ends at the latest: the kernel uses none at or above it.
	RAMEnd = 1 << 46
)

// BootMagic reads "KAPSEL02" in memory: the last two characters are the layout's version.
const BootMagic = 0x32304c455350414b

// BootInfo is what the monitor tells the kernel. All addresses are physical.
// Layout: little-endian, 8-byte fields, no padding; it grows only at its end.
type BootInfo struct {
	Magic uint64 // BootMagic
	Size  uint64 // bytes of this structure that the monitor filled in

	RAMLow  uint64 // bytes of RAM from 0, at most MMIOHole
	RAMHigh uint64 // bytes of RAM from MMIOHoleEnd, at most up to RAMEnd; all of it is unused
	Free    uint64 // RAM at and above this address, up to RAMLow, is unused; page aligned

	Modules     uint64 // TBF objects back to back, page aligned; 0 if there are none
	ModulesSize uint64 // bytes
	Cmdline     uint64 // the command line's bytes
	CmdlineSize uint64 // bytes, at most CmdlineMax

	TSCHz   uint64 // frequency of the time-stamp counter; 0 if the kernel shall measure it
	LAPICHz uint64 // input frequency of the local APIC timer; 0 if unknown

	Image uint64 // where the first byte of the image was loaded, page aligned
}

// MaxTasks is how many tasks a machine has at most.
const MaxTasks = 64

// CmdlineMax is the longest command line that the kernel reads, in bytes.
const CmdlineMax = 2048

// I/O ports and interrupt lines that the kernel expects.
const (
	PortCOM1      = 0x3f8 // 8250 UART, 8 registers
	PortDebugExit = 0xf4  // a 32-bit write ends the machine with that exit status
	PortCMOS      = 0x70  // real-time clock, 2 registers, if the machine has one
	IRQCOM1       = 4     // the UART's line at the I/O APIC

	IOAPICBase = 0xfec0_0000
	LAPICBase  = 0xfee0_0000
)

// Exit statuses of a machine: what a guest writes to PortDebugExit, 0 to ExitStatusMax.
// (QEMU's isa-debug-exit turns status s into its own exit code 2s+1, so 7 bits pass.)
const (
	ExitStatusMax = 127
	ExitOK        = 0   // every task terminated with completion code 0
	ExitTaskFault = 100 // a task was stopped by a fault
	ExitPanic     = 101 // the kernel panicked
	ExitBadBoot   = 102 // the kernel cannot use what the monitor handed it
	ExitNoTask    = 103 // there was no task that may run
	ExitCapsule   = 104 // every task terminated with completion code 0, but a capsule that failed stayed off
)

// The image's ELF note by which a monitor knows that it may enter by the direct door:
// name NoteName, type NoteBoot, a 4-byte descriptor that holds BootVersion.
const (
	NoteName    = "Kapsel"
	NoteBoot    = 1
	BootVersion = 2
)

// NoteHeartbeat is the type of the note, likewise of name NoteName, that says where the kernel
// counts its turns: an 8-byte descriptor with the virtual address of a 64-bit word, aligned,
// that changes whenever the kernel gives the processor to a task, puts it to sleep, or gets
// along with work that takes long. A monitor with a watchdog reads it. If it stands still while the processor is in ring 0 and
// does not wait in HLT, the monitor sends an NMI, at which the kernel panics. An image
// without this note is not watched.
const NoteHeartbeat = 2

// NoteGeneration is the type of the note, likewise, that says where the kernel has its generation: an 8-byte descriptor with the
// virtual address of a 64-bit word, aligned, that is 0 in a machine that was booted. A monitor that makes a machine from a snapshot, or takes
// one back to it, writes another random number there each time, before the processor goes on. What must not be the same in
// two machines, such as random bytes, the kernel compares by it: bytes of another generation are no secret any more. An image without this note
// keeps none.
const NoteGeneration = 3

// ImageInfo is how an image is laid out: mkimage writes it into the kernel's variable
// amd64.image. Addresses are virtual, as the image is linked; ranges are half-open and begin
// on page boundaries. The constants' PT_LOAD may begin behind Rodata, within that page.
type ImageInfo struct {
	Text, TextEnd     uint64 // code
	Rodata, RodataEnd uint64 // the pages of the constants
	Data, DataEnd     uint64 // variables
	Tasks, TasksEnd   uint64 // task objects, back to back; empty if there are none
}

// WatchdogNMIs is how many NMIs a monitor's watchdog sends, one after another, to a kernel that does not return to its main loop, before it says
// that it hangs: at the first that comes upon a capsule's instruction the kernel ends the capsule.
const WatchdogNMIs = 20
