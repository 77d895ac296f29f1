package virtio

import (
	"kapsel/guest/abi"
	"kapsel/guest/abi/virtio"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// Window is where the registers of a device are, and by which line it interrupts.
type Window struct {
	_          [0]func() // not comparable: no function is made for it
	Base, Size uint64    // physical, bytes
	Line       uint32    // at the I/O APIC
}

// Windows are those that the command line tells of.
type Windows struct {
	_     [0]func() // not comparable: no function is made for it
	list  [abi.VirtioPlaces]Window
	count int
}

// All is the windows until now.
func (w *Windows) All() []Window { return w.list[:w.count] }

// Lines below which, and above which, devices may have theirs: those of a PC are below, and the machine layer takes fewer than
// the I/O APIC has.
const (
	firstLine = abi.IRQCOM1 + 1
	endLine   = 16
)

// Obey takes a word of the command line that tells of a device, or reports false. What is wrong with the word it writes.
func (w *Windows) Obey(word []byte, to kernel.Writer) bool {
	const begin = len(abi.VirtioWord)
	if len(word) < begin || string(word[:begin]) != abi.VirtioWord {
		return false
	}
	if problem := w.add(word[begin:]); problem != "" {
		to.WriteString("command line: ")
		format.Text(to, word)
		to.WriteString(": ")
		to.WriteString(problem)
		to.WriteString("; the device is not used\n")
	}
	return true
}

// add adds the window that a word of the command line tells of: what stands behind abi.VirtioWord, <size>@<base>:<irq>[:<id>],
// as Linux reads it (Documentation/admin-guide/kernel-parameters, virtio_mmio.device=). The id is of no use. Or add says what
// is wrong with it.
func (w *Windows) add(text []byte) (problem string) {
	at, problem := parse(text)
	switch {
	case problem != "":
	case at.Size < virtio.RegistersSize || at.Base%virtio.RegistersSize != 0:
		problem = "the registers take 512 bytes at the least, at a multiple of 512"
	case at.Base < abi.MMIOHole || at.Base >= abi.MMIOHoleEnd || at.Size > abi.MMIOHoleEnd-at.Base:
		problem = "the registers are not between 0xc0000000 and 0x100000000"
	case at.overlaps(abi.IOAPICBase, abi.PageSize), at.overlaps(abi.LAPICBase, abi.PageSize), at.overlaps(abi.BenchmarkMMIO, abi.PageSize):
		problem = "the registers are another device's"
	case at.Line < firstLine || at.Line >= endLine:
		problem = "the interrupt is not from 5 to 15"
	case w.count == len(w.list):
		problem = "there are more than 8"
	}
	for _, other := range w.All() {
		switch {
		case at.overlaps(other.Base, other.Size):
			problem = "the registers are another device's"
		case at.Line == other.Line:
			problem = "the interrupt is another device's"
		}
	}
	if problem == "" {
		w.list[w.count] = at
		w.count++
	}
	return problem
}

// overlaps reports whether the window has bytes of those from base on. Neither wraps.
func (w *Window) overlaps(base, size uint64) bool { return w.Base < base+size && base < w.Base+w.Size }

// parse reads <size>@<base>:<irq>[:<id>].
func parse(text []byte) (w Window, problem string) {
	size, text, ok1 := number(text, '@')
	base, text, ok2 := number(text, ':')
	line, text, ok3 := number(text, ':')
	if ok3 && len(text) != 0 {
		_, text, ok3 = number(text, ':')
	}
	if !ok1 || !ok2 || !ok3 || len(text) != 0 || line > 1<<31 {
		return w, "want <size>@<base>:<irq>[:<id>], as in 4K@0xd0000000:5"
	}
	return Window{Base: base, Size: size, Line: uint32(line)}, ""
}

// number reads a number that ends at a character or with the text, and returns what is behind that: decimal or, after 0x,
// hexadecimal, perhaps with one of K, M and G behind it. It reports false if there is none below 2^63.
func number(text []byte, until byte) (n uint64, rest []byte, ok bool) {
	end := 0
	for end < len(text) && text[end] != until {
		end++
	}
	digits, rest := text[:end], text[min(end+1, len(text)):]
	shift := 0
	if end > 0 {
		shift = unit(digits[end-1])
	}
	if shift != 0 {
		digits = digits[:end-1]
	}
	base := uint64(10)
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		digits, base = digits[2:], 16
	}
	for _, c := range digits {
		d := digit(c)
		if d >= base || n > (1<<63-16)/base {
			return 0, rest, false
		}
		n = n*base + d
	}
	return n << shift, rest, len(digits) != 0 && n < 1<<63>>shift
}

// unit is how many bits a number moves to the left by the letter behind it: 0 if that is no unit.
func unit(c byte) int {
	switch c | 0x20 {
	case 'k':
		return 10
	case 'm':
		return 20
	case 'g':
		return 30
	}
	return 0
}

// digit is the value of a hexadecimal digit, or more than any.
func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10
	}
	return 16
}
