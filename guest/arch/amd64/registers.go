package amd64

// Model-specific registers (SDM vol. 4).
const (
	msrAPICBase    = 0x1b
	msrSpecCtrl    = 0x48
	msrPredCmd     = 0x49 // write only
	msrSysenterCS  = 0x174
	msrTSCDeadline = 0x6e0
	msrX2APIC      = 0x800      // the local APIC's registers, one MSR for 16 bytes
	msrKVMClock    = 0x4b564d01 // MSR_KVM_SYSTEM_TIME_NEW (Linux, virt/kvm/x86/msr.rst)
	msrEFER        = 0xc0000080
	msrSTAR        = 0xc0000081
	msrLSTAR       = 0xc0000082
	msrCSTAR       = 0xc0000083 // AMD's processors alone use it (APM vol. 2, 6.1.1)
	msrFMASK       = 0xc0000084
	msrFSBase      = 0xc0000100
	msrGSBase      = 0xc0000101
)

// Control registers (SDM vol. 3, 2.5), EFER (SDM vol. 3, 2.2.1) and DR7, and bits of them.
const (
	cr0 = 1<<0 | 1<<1 | 1<<4 | 1<<5 | 1<<16 | 1<<31 // PE, MP, ET, NE, WP, PG

	cr4PAE        = 1 << 5
	cr4MCE        = 1 << 6
	cr4PGE        = 1 << 7
	cr4OSFXSR     = 1 << 9
	cr4OSXMMEXCPT = 1 << 10
	cr4UMIP       = 1 << 11
	cr4PCIDE      = 1 << 17
	cr4SMEP       = 1 << 20
	cr4SMAP       = 1 << 21

	efer              = 1<<0 | 1<<8 | 1<<10 | 1<<11 // SCE, LME, LMA, NXE
	eferAutomaticIBRS = 1 << 21                     // AMD's processors alone (APM vol. 2, 3.1.7)

	dr7 = 1 << 10 // no breakpoint (SDM vol. 3, 17.2.4; the bit is always 1)
)

// Bits of RFLAGS (SDM vol. 1, 3.4.3).
const (
	flagsFixed = 1 << 1
	flagTF     = 1 << 8
	flagIF     = 1 << 9
	flagDF     = 1 << 10
	flagIOPL   = 3 << 12
	flagNT     = 1 << 14
	flagAC     = 1 << 18
)
