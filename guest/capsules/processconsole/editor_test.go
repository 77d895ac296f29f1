package processconsole

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/kernel/kerneltest"
)

// screen shows what a terminal would: one line, with \b and "erase to the end of the line".
func screen(out string) string {
	var line []byte
	at := 0
	for i := 0; i < len(out); i++ {
		switch {
		case out[i] == '\b':
			at--
		case strings.HasPrefix(out[i:], "\x1b[K"):
			line, i = line[:at], i+2
		case out[i] == '\n':
			line, at = nil, 0
		default:
			line = append(line[:at], append([]byte{out[i]}, line[min(at+1, len(line)):]...)...)
			at++
		}
	}
	return string(line[:at]) + "|" + string(line[at:])
}

const (
	up, down, right, left = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"
	home, end, del        = "\x1b[H", "\x1b[F", "\x1b[3~"
)

func TestEditor(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, c := range map[string]struct {
		keys, shows string
		lines       []string
	}{
		"typing":                        {"list", "list|", nil},
		"enter":                         {"list\r", "|", []string{"list"}},
		"CR LF is one end":              {"a\r\nb\r\n", "|", []string{"a", "b"}},
		"LF":                            {"a\n\n", "|", []string{"a", ""}},
		"backspace":                     {"lisx\x7ft\b", "lis|", nil},
		"backspace at the start":        {"\x7fa" + left + "\x7f", "|a", nil},
		"insert":                        {"lst" + left + left + "i", "li|st", nil},
		"backspace within":              {"lisst" + left + "\x7f", "lis|t", nil},
		"delete":                        {"llist" + home + del, "|list", nil},
		"delete at the end":             {"list" + del, "list|", nil},
		"home and end":                  {"b" + home + "a" + end + "c", "abc|", nil},
		"other keys for home and end":   {"b\x1b[1~a\x1b[4~c\x1bOHx\x1b[8~y\x1b[7~z", "z|xabcy", nil},
		"left and right at the edges":   {left + "a" + right + right + "b", "ab|", nil},
		"too long":                      {long + "y", long + "|", nil},
		"other control keys":            {"a\x02\x00\x06\xffb", "ab|", nil},
		"Ctrl-A and Ctrl-E":             {"b\x01a\x05c", "abc|", nil},
		"Ctrl-U":                        {"stop one" + left + left + left + "\x15", "|one", nil},
		"Ctrl-U at the end":             {"stop one\x15list\r", "|", []string{"list"}},
		"Ctrl-U at the start":           {"one\x01\x15", "|one", nil},
		"Ctrl-K":                        {"stop one" + left + left + left + "\x0b", "stop |", nil},
		"Ctrl-K at the start":           {"stop one\x01\x0b", "|", nil},
		"Ctrl-K at the end":             {"stop\x0b", "stop|", nil},
		"Ctrl-W":                        {"stop one\x17", "stop |", nil},
		"Ctrl-W behind spaces":          {"stop one  \x17", "stop |", nil},
		"Ctrl-W within a word":          {"stop one" + left + "\x17", "stop |e", nil},
		"Ctrl-W, all":                   {"stop one\x17\x17\x17", "|", nil},
		"Ctrl-W of spaces alone":        {"  \x17", "|", nil},
		"Ctrl-U on an old line":         {"one\r" + up + "\x15two\r" + up + up, "one|", []string{"one", "two"}},
		"Ctrl-W within a full line":     {long[:maxLine-2] + " y" + left + "\x17", "|y", nil},
		"unknown sequences":             {"a\x1b[15~\x1b[1;5P\x1bqb\x1b[\rc", "abc|", nil},
		"Ctrl-C":                        {"list\x03", "|", []string{""}},
		"up":                            {"one\rtwo\r" + up, "two|", []string{"one", "two"}},
		"up twice":                      {"one\rtwo\r" + up + up, "one|", []string{"one", "two"}},
		"up too often":                  {"one\r" + up + up + up, "one|", []string{"one"}},
		"down again":                    {"one\rtwo\r" + up + up + down, "two|", []string{"one", "two"}},
		"down to the new line":          {"one\rne" + up + down + "w", "new|", []string{"one"}},
		"down at the new line":          {"one\rne" + down + "w", "new|", []string{"one"}},
		"a longer, then a shorter line": {"a\rlonger\r" + up + up, "a|", []string{"a", "longer"}},
		"an old line, edited":           {"lst\r" + up + left + left + "i\r", "|", []string{"lst", "list"}},
		"the same twice is kept once":   {"a\rb\rb\r" + up + up, "a|", []string{"a", "b", "b"}},
		"nothing is not kept":           {"a\r\r\r" + up, "a|", []string{"a", "", ""}},
		"ten are kept": {"0\r1\r2\r3\r4\r5\r6\r7\r8\r9\ra\r" + strings.Repeat(up, 20), "1|",
			strings.Split("0123456789a", "")},
	} {
		t.Run(name, func(t *testing.T) {
			out := &kerneltest.Log{}
			e := editor{out: out}
			var lines []string
			for _, key := range []byte(c.keys) {
				if e.press(key) {
					lines = append(lines, string(e.take()))
				}
			}
			assert.Equal(t, c.lines, lines)
			assert.Equal(t, c.shows, screen(out.String()))
			assert.Equal(t, strings.IndexByte(c.shows, '|'), e.cursor)
		})
	}
}

func FuzzEditor(f *testing.F) {
	f.Add([]byte("one\rtwo" + left + del + up + down + home + end + "\x03"))
	f.Add([]byte("stop one two" + left + left + "\x17\x0b\x01 a b\x05\x15c d e" + left + "\x15\x17\x0b"))
	f.Fuzz(func(t *testing.T, keys []byte) {
		out := &kerneltest.Log{}
		e := editor{out: out}
		for _, key := range keys {
			if e.press(key) {
				e.take()
			}
			line := string(e.line.bytes[:e.line.length])
			shown := screen(out.String())
			if want := line[:e.cursor] + "|" + line[e.cursor:]; shown != want {
				t.Fatalf("the terminal shows %q, the editor has %q", shown, want)
			}
		}
	})
}
