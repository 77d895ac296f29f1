package peripheral

import (
	"fmt"
	"io"
)

// NewBuzzer returns the Output of the port abi.PortBuzzer, which writes a line about each tone to w: "buzzer: 440 Hz, 250 ms", and
// "buzzer: off" where one is stopped before its end.
func NewBuzzer(w io.Writer) io.Writer {
	return &lines{line: func(numbers []uint32) error {
		var err error
		switch {
		case len(numbers) != 2:
			return fmt.Errorf("the guest sent %d numbers: want a frequency and a time", len(numbers))
		case numbers[0] == 0:
			_, err = io.WriteString(w, "buzzer: off\n")
		default:
			_, err = fmt.Fprintf(w, "buzzer: %d Hz, %d ms\n", numbers[0], numbers[1])
		}
		return err
	}}
}
