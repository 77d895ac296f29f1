package model

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"kapsel/guest/abi"
)

// Options returns those for QEMU that make it write the log that Read reads to a file (QEMU
// manual, "Invocation": -d, -D, -dfilter, -singlestep; docs/devel/tracing): each instruction as it
// is translated and as it is executed, and writes to devices. Left out are the firmware, which lies in
// the first MiB and high in RAM, and the addresses from skip up to skipEnd.
func Options(file string, skip, skipEnd uint64) []string {
	const mib = 1 << 20
	return []string{
		"-singlestep", "-d", "exec,nochain,in_asm", "-D", file, "-trace", "memory_region_ops_write",
		"-dfilter", fmt.Sprintf("%#x..%#x,%#x..%#x,%#x..%#x", mib, 16*mib-1, abi.FlashStart, skip-1, skipEnd, ^uint64(0)),
	}
}

// An Instruction is one of a program's.
type Instruction struct {
	Address uint64
	Code    string // its bytes
}

// user reports whether it is a task's.
func (i *Instruction) user() bool { return i.Address>>47 == 0 }

// Codes of instructions that Path looks for (Intel SDM vol. 2).
const (
	codeRDTSC   = "\x0f\x31"
	codeHLT     = "\xf4"
	codeSyscall = "\x0f\x05"
	codeINT40   = "\xcd\x40"
)

// A Trace is what a machine executed between the marks of its paths.
type Trace struct {
	Paths [][]*Instruction // of each pair of marks, in order
}

// A reader makes a trace of the lines of QEMU's log.
type reader struct {
	trace   Trace
	shown   map[uint64]string       // code by address, of what was translated and not yet executed
	blocks  map[string]*Instruction // by the address of QEMU's translation
	at      uint64                  // what is shown
	code    []byte
	marked  bool // between two marks
	current []*Instruction
}

// Read reads QEMU's log up to its end.
func Read(log io.Reader) (*Trace, error) {
	r := &reader{shown: map[uint64]string{}, blocks: map[string]*Instruction{}}
	lines := bufio.NewReaderSize(log, 1<<16)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return &r.trace, nil // a last line without its end was cut off
		}
		if err == nil {
			err = r.read(line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d of QEMU's log, %.80q: %w", n, line, err)
		}
	}
}

// read takes a line. Those that it does not know are others'.
func (r *reader) read(line []byte) error {
	switch {
	case bytes.HasPrefix(line, []byte("Trace ")):
		return r.executes(line)
	case bytes.HasPrefix(line, []byte("0x")):
		return r.translated(line)
	case bytes.HasPrefix(line, []byte("IN:")):
		r.code = r.code[:0]
	case bytes.HasPrefix(line, []byte("Stopped execution of TB chain before ")):
		if len(r.current) > 0 { // an interrupt came first
			r.current = r.current[:len(r.current)-1]
		}
	case bytes.HasPrefix(line, []byte("memory_region_ops_write ")):
		return r.wrote(string(line))
	}
	return nil
}

// translated takes an instruction, or the rest of it: "0x40001000:  48 89 c8    movq %rcx, %rax".
func (r *reader) translated(line []byte) error {
	text, rest, found := bytes.Cut(line[2:], []byte(":"))
	at, err := strconv.ParseUint(string(text), 16, 64)
	if !found || err != nil {
		return errors.New("want an address and a colon")
	}
	if len(r.code) == 0 {
		r.at = at
	}
	for _, word := range bytes.Fields(rest) {
		b, err := hex.DecodeString(string(word))
		if err != nil || len(b) != 1 {
			break // its name
		}
		r.code = append(r.code, b[0])
	}
	r.shown[r.at] = string(r.code)
	return nil
}

// executes takes "Trace 0: TRANSLATION [CS BASE/RIP/FLAGS/...] ...". Two tasks have different
// instructions at the same address; their translations lie apart.
func (r *reader) executes(line []byte) error {
	block, rest, _ := bytes.Cut(line, []byte(" ["))
	words := bytes.SplitN(rest, []byte("/"), 3)
	if len(words) < 3 {
		return errors.New("want [base/address/flags")
	}
	at, err := strconv.ParseUint(string(words[1]), 16, 64)
	if err != nil {
		return err
	}
	if code, isNew := r.shown[at]; isNew {
		r.blocks[string(block)] = &Instruction{at, code}
		delete(r.shown, at)
	}
	i := r.blocks[string(block)]
	if i == nil {
		return errors.New("an instruction that was not shown before")
	}
	if r.marked && !r.again(i) {
		r.current = append(r.current, i)
	}
	return nil
}

// again reports whether an instruction is the last one once more: QEMU begins anew with one
// that turns out to reach a device. Those with a REP prefix are repeated by themselves.
func (r *reader) again(i *Instruction) bool {
	n := len(r.current)
	return n > 0 && *r.current[n-1] == *i && !strings.HasPrefix(i.Code, "\xf2") && !strings.HasPrefix(i.Code, "\xf3")
}

// wrote takes "memory_region_ops_write cpu 0 mr 0x5555 addr 0xe0 value 0x1 size 4 name 'io'": a
// mark, if it is of that port.
func (r *reader) wrote(line string) error {
	var addr, value string
	words := strings.Fields(line)
	for i, word := range words[:len(words)-1] {
		switch word {
		case "addr":
			addr = words[i+1]
		case "value":
			value = words[i+1]
		}
	}
	if addr != fmt.Sprintf("%#x", abi.PortMark) {
		return nil
	}
	begins := value == fmt.Sprintf("%#x", abi.MarkBegin)
	if begins == r.marked {
		return errors.New("a mark that is out of turn")
	}
	if r.marked {
		r.trace.Paths = append(r.trace.Paths, r.current)
	}
	r.marked, r.current = begins, nil
	return nil
}

// A Path is what to look for between two marks.
type Path struct {
	Name  string
	Ticks int  // the median of the samples
	Calls bool // the samples are of system calls, with what measuring takes
}

// An Operation is what a machine executed of a path.
type Operation struct {
	Instructions []*Instruction
	Samples      int // so many samples were made of it
}

// A shape is how an operation lies between its two instants: reads of the counter by tasks,
// one behind the other.
type shape struct {
	samples int  // made of it; 0 is one
	reads   int  // of the counter by tasks between
	idle    bool // it begins when the processor is woken, which is some ticks behind a deadline
	kernel  bool // it ends with a read of the counter by the kernel
	none    bool // a sample is the difference of two operations: there is none to model
}

// shapes are those of paths that are not one sample, from one read to the next.
var shapes = map[string]shape{
	"TaskSwitch":         {samples: 2}, // there and back
	"IPCBuffer":          {reads: 1},   // by the peer
	"InterruptToTask":    {reads: 2},   // when it goes on, and before it asks
	"InterruptToCapsule": {kernel: true},
	"AlarmLatency":       {idle: true},
	"PlainGo":            {none: true},
	"RegisterRead":       {none: true},
	"CapsuleCall":        {none: true},
	"BufferHandOver":     {none: true},
	"PlainCopy4096":      {none: true},
	"CacheHit4096":       {none: true},
}

// Modelled reports whether the path has operations that can be found.
func (p Path) Modelled() bool { return !shapes[p.Name].none }

// slack is by how many instructions the two ends of an operation may lie farther apart, or nearer,
// than its ticks say: an interrupt comes between two of them.
const slack = 2

// Find returns one operation of the path among what was executed between its marks: where the
// two instants are as far apart as the samples say, for an instruction is a tick. Of system
// calls it is what lies between the first call and the last return.
func (p Path) Find(span []*Instruction) (Operation, error) {
	shape := shapes[p.Name]
	operation := Operation{Samples: max(shape.samples, 1)}
	wanted := operation.Samples * p.Ticks
	best := slack + 1
	for end := range span {
		begin := shape.begin(span, end)
		if begin < 0 {
			continue
		}
		off := abs(end - begin - wanted)
		if shape.idle {
			off = 0
		}
		if off < best {
			best, operation.Instructions = off, span[begin+1:end+1]
		}
	}
	if operation.Instructions == nil {
		return operation, fmt.Errorf("%s: no operation of %d instructions among %d", p.Name, wanted, len(span))
	}
	if p.Calls {
		operation.Instructions = calls(operation.Instructions)
	}
	return operation, nil
}

// begin returns the index of the instant at which an operation begins that ends at an index, or -1.
func (s shape) begin(span []*Instruction, end int) int {
	if span[end].Code != codeRDTSC || span[end].user() == s.kernel {
		return -1
	}
	reads := s.reads
	for i := end - 1; i >= 0; i-- {
		switch x := span[i]; {
		case s.idle && x.Code == codeHLT:
			return i
		case x.Code != codeRDTSC || !x.user():
		case reads == 0 && s.idle:
			return -1
		case reads == 0:
			return i
		default:
			reads--
		}
	}
	return -1
}

func abs(n int) int { return max(n, -n) }

// calls is what lies between the first call of a task and the last return to it.
func calls(s []*Instruction) []*Instruction {
	for len(s) > 0 && s[0].Code != codeSyscall && s[0].Code != codeINT40 {
		s = s[1:]
	}
	for len(s) > 0 && s[len(s)-1].user() {
		s = s[:len(s)-1]
	}
	return s
}
