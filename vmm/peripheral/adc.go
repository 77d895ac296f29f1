package peripheral

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"kapsel/vmm/image"
)

// Of the converter.
const (
	adcBits       = 12
	adcMillivolts = 3300
	adcChannels   = 64 // at the most
)

// ADC is an analog-to-digital converter of 12 bits and 3.3 V, for the port abi.PortADC: it is the port's Input and Output. Each
// conversion of a channel gives the next of the values that it was made of, and behind the last the first again.
type ADC struct {
	values  [][]uint16 // of each channel
	next    []int
	answers *io.PipeReader
	answer  *io.PipeWriter
	asked   lines
}

// OpenADC reads a file of values. See NewADC.
func OpenADC(ctx context.Context, path string) (*ADC, error) {
	text, err := image.ReadFile(ctx, path)
	if err != nil {
		return nil, err
	}
	a, err := NewADC(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return a, nil
}

// NewADC makes a converter of a text with lines of the form
//
//	CHANNEL: VALUE VALUE ...
//
// with channels from 0 on and values from 0 to 4095. A channel may have several lines, one behind another. What is behind a '#' in a
// line is passed over.
func NewADC(text []byte) (*ADC, error) {
	a := &ADC{}
	scanner := bufio.NewScanner(bytes.NewReader(text))
	scanner.Buffer(nil, len(text)+1)
	for number := 1; scanner.Scan(); number++ {
		line, _, _ := strings.Cut(scanner.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := a.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	for channel, values := range a.values {
		if values == nil {
			return nil, fmt.Errorf("channel %d has no values, and channel %d has", channel, len(a.values)-1)
		}
	}
	if len(a.values) == 0 {
		return nil, fmt.Errorf("want values of an analog-to-digital converter, as 0: 100 200, found none")
	}
	a.next = make([]int, len(a.values))
	a.answers, a.answer = io.Pipe()
	a.asked.line = a.convert
	return a, nil
}

// add adds the values of a line.
func (a *ADC) add(line string) error {
	before, after, ok := strings.Cut(line, ":")
	words := strings.Fields(after)
	channel, err := strconv.ParseUint(strings.TrimSpace(before), 10, 8)
	if !ok || err != nil || channel >= adcChannels || len(words) == 0 {
		return fmt.Errorf("want CHANNEL: VALUE VALUE ..., as 0: 100 200, with a channel below %d, found %q", adcChannels, excerpt(strings.TrimSpace(line)))
	}
	for uint64(len(a.values)) <= channel {
		a.values = append(a.values, nil)
	}
	for _, word := range words {
		v, err := strconv.ParseUint(word, 10, 16)
		if err != nil || v >= 1<<adcBits {
			return fmt.Errorf("want values from 0 to %d, found %q", 1<<adcBits-1, excerpt(word))
		}
		a.values[channel] = append(a.values[channel], uint16(v))
	}
	return nil
}

// excerpt is text as an error tells it: of a long one the beginning.
func excerpt(text string) string { return text[:min(len(text), 100)] }

// Close implements io.Closer: reads and writes end.
func (a *ADC) Close() error {
	a.answer.Close()
	return a.answers.Close()
}

// Read implements io.Reader: the answers.
func (a *ADC) Read(p []byte) (int, error) { return a.answers.Read(p) }

// Write implements io.Writer: the questions. One that makes no sense ends the answers.
func (a *ADC) Write(p []byte) (int, error) {
	n, err := a.asked.Write(p)
	if err != nil {
		a.answer.CloseWithError(err)
	}
	return n, err
}

// convert answers a line: an empty one with what the converter can do, the number of a channel with a conversion.
func (a *ADC) convert(numbers []uint32) error {
	switch {
	case len(numbers) == 0:
		_, err := fmt.Fprintf(a.answer, "%d %d %d\n", len(a.values), adcBits, adcMillivolts)
		return err
	case len(numbers) > 1 || numbers[0] >= uint32(len(a.values)):
		return fmt.Errorf("the guest asked for a conversion of %v: want a channel below %d", numbers, len(a.values))
	}
	channel := numbers[0]
	values := a.values[channel]
	v := values[a.next[channel]]
	a.next[channel] = (a.next[channel] + 1) % len(values)
	_, err := fmt.Fprintf(a.answer, "%d\n", v)
	return err
}
