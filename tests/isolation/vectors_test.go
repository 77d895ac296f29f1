package isolation

import (
	"fmt"
	"testing"

	"kapsel/guest/abi"
)

// TestVectorRegistersOfLives: XMM0 to XMM12 stay a task's own through upcalls, waits and system calls, all
// of them through preemptions, while others do the same and restart. A run begins with all of
// them 0 and x87 and MXCSR as at reset, whatever the run before and other tasks left.
func TestVectorRegistersOfLives(t *testing.T) {
	var programs []*program
	for i := range uint64(3) {
		programs = append(programs, keepsVectors(i+1), restartsWithVectors(i+1))
	}
	for _, scheduler := range []string{"roundrobin", "mlfq", "priority", "cooperative"} {
		t.Run(scheduler, func(t *testing.T) { play(t, "no-dump scheduler="+scheduler, programs...) })
	}
}

// keepsVectors is a task that looks for patterns of its own behind all that interrupts it.
func keepsVectors(id uint64) *program {
	const kept, all = 13, 16
	p := newProgram(fmt.Sprint("keeps-", id))
	p.call(abi.Subscribe, abi.DriverAlarm, 0, upcall, 0)
	for round := range uint64(12) {
		pattern := id<<60 | id<<32 | round<<8
		p.call(abi.Command, abi.DriverAlarm, 5, 500+300*id+37*round, 0)
		p.fillVectors(pattern)
		switch round % 3 {
		case 0:
			p.call(abi.Yield, abi.YieldWait, 0, 0, 0)
			p.wantVectors("behind an upcall", pattern, kept)
		case 1:
			p.emit32(1<<22, 0xb9)
			p.emit(spin[5:]...)
			p.wantVectors("behind preemptions", pattern, all)
			p.call(abi.Yield, abi.YieldWait, 0, 0, 0)
		case 2:
			p.call(abi.Memop, abi.MemopSbrk, 0, 0, 0)
			p.wantVectors("behind a Memop", pattern, kept)
			p.fillVectors(pattern)
			p.call(abi.Yield, abi.YieldWaitFor, abi.DriverAlarm, 0, 0)
			p.wantVectors("behind a wait", pattern, kept)
		}
	}
	return p
}

// restartsWithVectors is a task that finds nothing in the registers, fills them and restarts.
func restartsWithVectors(id uint64) *program {
	const lives = 9
	p := newProgram(fmt.Sprint("restarts-", id))
	p.wantVectors("at the start", 0, 0)
	p.emit(0x0f, 0xae, 0x5c, 0x24, 0xf8, 0x8b, 0x4c, 0x24, 0xf8) // stmxcsr -8(%rsp); mov -8(%rsp), %ecx
	p.wantCount("MXCSR", 0x1f80)
	p.emit(0xdd, 0x74, 0x24, 0x80, 0x0f, 0xb7, 0x4c, 0x24, 0x84) // fnsave -128(%rsp); movzwl -124(%rsp), %ecx
	p.wantCount("x87 status", 0)
	p.fillVectors(id << 48)
	p.emit(0xd9, 0xe8)                                            // fld1
	p.emit(0xc7, 0x44, 0x24, 0xf8, 0x80, 0x7f, 0, 0)              // movl $0x7f80, -8(%rsp)
	p.emit(0x0f, 0xae, 0x54, 0x24, 0xf8)                          // ldmxcsr -8(%rsp)
	p.emit64(keptPage, 0x48, 0xbb)                                // movabs keptPage, %rbx
	p.emit(0x48, 0xff, 0x03, 0x48, 0x83, 0x3b, lives, 0x0f, 0x83) // incq (%rbx); cmpq $lives, (%rbx); jae
	again := new(program)
	again.sleep(100 * id)
	again.call(abi.Exit, abi.ExitRestart, 0, 0, 0)
	p.emit32(uint32(len(again.code)))
	p.emit(again.code...)
	return p
}

// moveVector emits a MOVQ between RAX and the low half of an XMM register.
func (p *program) moveVector(n int, opcode byte) {
	p.emit(0x66, 0x48|byte(n>>3)<<2, 0x0f, opcode, 0xc0|byte(n&7)<<3)
}

// fillVectors makes both halves of each XMM register the pattern and its number.
func (p *program) fillVectors(pattern uint64) {
	for n := range 16 {
		p.emit64(pattern+uint64(n), 0x48, 0xb8)                       // movabs, %rax
		p.moveVector(n, 0x6e)                                         // movq %rax, %xmm
		p.emit(0x66, 0x40|byte(n>>3)*5, 0x0f, 0x6c, 0xc0|byte(n&7)*9) // punpcklqdq %xmm, %xmm
	}
}

// wantVectors checks that so many XMM registers hold the pattern, and the others 0.
func (p *program) wantVectors(when string, pattern uint64, kept int) {
	for n := range 16 {
		want := pattern + uint64(n)
		if n >= kept {
			want = 0
		}
		number := p.check(fmt.Sprintf("XMM%d %s", n, when))
		for range 2 {
			p.moveVector(n, 0x7e)      // movq %xmm, %rax
			p.emit64(want, 0x48, 0xb9) // movabs, %rcx
			p.emit(0x48, 0x39, 0xc8)   // cmp %rcx, %rax
			p.failUnlessEqual(number)
			p.emit(0x66, 0x40|byte(n>>3), 0x0f, 0x73, 0xd8|byte(n&7), 8) // psrldq $8, %xmm
		}
	}
}
