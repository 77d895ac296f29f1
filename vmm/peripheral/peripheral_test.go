package peripheral

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ask asks a converter, and returns its answer.
func ask(t *testing.T, a *ADC, answers *bufio.Reader, question string) string {
	t.Helper()
	var asking sync.WaitGroup
	asking.Go(func() { io.WriteString(a, question) })
	defer asking.Wait()
	answer, err := answers.ReadString('\n')
	require.NoError(t, err)
	return answer
}

func TestADC(t *testing.T) {
	a, err := NewADC([]byte("# two channels\n0: 1 2 # low\n\n 1 :4095\n0:3\n"))
	require.NoError(t, err)
	answers := bufio.NewReader(a)
	assert.Equal(t, "2 12 3300\n", ask(t, a, answers, "\n"))
	for _, want := range []string{"1\n", "2\n", "3\n", "1\n"} {
		assert.Equal(t, want, ask(t, a, answers, "0\n"))
		assert.Equal(t, "4095\n", ask(t, a, answers, "1\n"))
	}
}

func TestADCFilesThatAreNone(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "found none"}, {"# nothing\n", "found none"},
		{"0: 1\n0 2\n", `line 2: want CHANNEL: VALUE VALUE ...`}, {"x: 1\n", "line 1: want CHANNEL"}, {"0:\n", "line 1: want CHANNEL"},
		{"64: 1\n", "a channel below 64"}, {"-1: 1\n", "line 1: want CHANNEL"}, {"0: 4096\n", `want values from 0 to 4095, found "4096"`},
		{"0: 1,2\n", `found "1,2"`}, {"2: 1\n0: 1\n", "channel 1 has no values, and channel 2 has"},
		{strings.Repeat("x", 1<<20), `, found "` + strings.Repeat("x", 100) + `"`}, {"0: " + strings.Repeat("9", 1<<20), `, found "` + strings.Repeat("9", 100) + `"`},
	} {
		_, err := NewADC([]byte(tt.text))
		require.Error(t, err, tt.text)
		assert.Contains(t, err.Error(), tt.want)
	}
}

// TestADCEnds: whoever reads or writes goes on.
func TestADCEnds(t *testing.T) {
	a, err := NewADC([]byte("0: 1\n"))
	require.NoError(t, err)
	var waiting sync.WaitGroup
	waiting.Go(func() { io.WriteString(a, strings.Repeat("0\n", 1000)) })
	_, err = io.ReadFull(a, make([]byte, 4))
	require.NoError(t, err)
	require.NoError(t, a.Close())
	waiting.Wait()
	_, err = a.Read(make([]byte, 1))
	assert.Error(t, err)
}

// TestADCQuestionsOfNoMeaning end the answers.
func TestADCQuestionsOfNoMeaning(t *testing.T) {
	for _, question := range []string{"1\n", "x\n", "0 0\n", "-1\n", "4294967296\n", " \n", "0 \n", strings.Repeat("0", 100)} {
		a, err := NewADC([]byte("0: 1\n"))
		require.NoError(t, err)
		_, err = io.WriteString(a, question)
		assert.Error(t, err, "%q", question)
		_, err = a.Read(make([]byte, 1))
		assert.Error(t, err, "%q", question)
	}
}

func TestBuzzer(t *testing.T) {
	var out bytes.Buffer
	b := NewBuzzer(&out)
	for _, part := range []string{"440 2", "50\n0 0\n", "880 1\n"} {
		_, err := io.WriteString(b, part)
		require.NoError(t, err)
	}
	assert.Equal(t, "buzzer: 440 Hz, 250 ms\nbuzzer: off\nbuzzer: 880 Hz, 1 ms\n", out.String())
	for _, text := range []string{"1\n", "1 2 3\n", "a b\n", "\x1b[2J\n"} {
		out.Reset()
		b := NewBuzzer(&out)
		_, err := io.WriteString(b, text)
		assert.Error(t, err)
		_, err = io.WriteString(b, "440 250\n")
		assert.Error(t, err, "once lost, always lost")
		assert.Empty(t, out.String())
	}
}

// show returns what a screen shows once this was written.
func show(t *testing.T, parts ...string) string {
	t.Helper()
	var rows string
	s := NewScreen(func(text []byte) error {
		rows = string(text)
		return nil
	})
	for _, part := range parts {
		_, err := io.WriteString(s, part)
		require.NoError(t, err)
	}
	return rows
}

func TestScreen(t *testing.T) {
	long := strings.Repeat("x", 80)
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprint("row ", i))
	}
	for _, tt := range []struct{ name, text, want string }{
		{"text", "hello", "hello\n"},
		{"rows", "a\r\n\r\nb\r\n", "a\n\nb\n"},
		{"a newline alone goes down", "a\nb", "a\n b\n"},
		{"the last column", long, long + "\n"},
		{"behind the last column", long + "y", long + "\ny\n"},
		{"the last column, and a new row", long + "\r\ny", long + "\ny\n"},
		{"rows move up", strings.Join(many, "\r\n"), strings.Join(many[5:], "\n") + "\n"},
		{"the cursor", "\x1b[3;5Hx\x1b[1;1Hy", "y\n\n    x\n"},
		{"the last place", "\x1b[25;80Hx", strings.Repeat("\n", 24) + strings.Repeat(" ", 79) + "x\n"},
		{"a place that there is not", "\x1b[99;999Hx\x1b[Hy", "y\n" + strings.Repeat("\n", 23) + strings.Repeat(" ", 79) + "x\n"},
		{"clear", "hello\x1b[2J\x1b[Hx", "x\n"},
		{"off", "hello\x1b[?1049h\x1b[2J", ""},
		{"on again", "hello\x1b[?1049h\x1b[2Jlost\n\x1b[?1049l!", "hello!\n"},
		{"what does nothing", "a\x1b[?25l\x1b[?12h\x1b[31m\x07\x1bcb\x1b[1;2;3;4;5;6;7;8;9;10;11mc", "ab8;9;10;11mc\n"}, // a sequence that is too long ends
	} {
		assert.Equal(t, tt.want, show(t, tt.text), tt.name)
		assert.Equal(t, tt.want, show(t, strings.Split(tt.text, "")...), "%s, byte by byte", tt.name)
	}
}

func TestScreenThatCannotBeShown(t *testing.T) {
	s := NewScreen(func([]byte) error { return errors.New("no room") })
	_, err := io.WriteString(s, "x")
	assert.Error(t, err)
}

// FuzzScreen: whatever a guest sends, the rows are printable and within the screen.
func FuzzScreen(f *testing.F) {
	f.Add([]byte("hello\x1b[3;5Hx\x1b[2J\n\r\x1b[?1049h"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := NewScreen(func([]byte) error { return nil })
		s.Write(text)
		rows := strings.Split(string(s.Rows()), "\n")
		if len(rows) > screenRows+1 || len(s.escape) > maxEscape {
			t.Fatalf("%d rows, %d bytes of a sequence", len(rows), len(s.escape))
		}
		for _, row := range rows {
			if len(row) > screenColumns || strings.ContainsFunc(row, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("row %q", row)
			}
		}
	})
}

// FuzzLines: whatever a guest sends, in whatever pieces, the rest is bounded and the numbers are those of the lines.
func FuzzLines(f *testing.F) {
	f.Add([]byte("440 250\n0 0\n\n1"), 3)
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		var got strings.Builder
		l := &lines{line: func(numbers []uint32) error {
			for i, v := range numbers {
				if i != 0 {
					got.WriteByte(' ')
				}
				fmt.Fprint(&got, v)
			}
			got.WriteByte('\n')
			return nil
		}}
		var all []byte
		for rest := text; len(rest) > 0; {
			n := min(len(rest), 1+piece&15)
			took, err := l.Write(rest[:n])
			all = append(all, rest[:took]...)
			if len(l.rest) >= maxLine {
				t.Fatalf("%d bytes of a line", len(l.rest))
			}
			if err != nil {
				return
			}
			rest = rest[n:]
		}
		whole := all[:bytes.LastIndexByte(all, '\n')+1]
		if strings.Count(got.String(), "\n") != bytes.Count(whole, []byte("\n")) {
			t.Fatalf("%q became %q", whole, got.String())
		}
	})
}

// FuzzADC: any file is a converter, or an error.
func FuzzADC(f *testing.F) {
	f.Add([]byte("0: 1 2\n1: 3 # x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := NewADC(text)
		if err != nil {
			return
		}
		for _, values := range a.values {
			if len(values) == 0 {
				t.Fatal("a channel without values")
			}
			for _, v := range values {
				if v >= 1<<adcBits {
					t.Fatalf("value %d", v)
				}
			}
		}
	})
}
