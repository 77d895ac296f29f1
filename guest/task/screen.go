package task

import "kapsel/guest/abi"

// Numbers of the text screen driver.
const (
	screenSize      = 1 // commands
	screenDisplayOn = 2
	screenBlinkOn   = 4
	screenShow      = 6
	screenWrite     = 8
	screenClear     = 9
	screenSetCursor = 11
	screenDone      = 0 // subscribe
	screenBuffer    = 0 // read-only allow
)

// screen gives the text screen a command and waits for its end.
func screen(command, a0, a1 uint32) (v, w uint32, err error) {
	if err := Command(abi.DriverTextScreen, command, a0, a1).Err(); err != nil {
		return 0, 0, err
	}
	status, v, w := WaitFor(abi.DriverTextScreen, screenDone)
	return v, w, failed(status)
}

// ScreenSize is how many columns and rows the machine's text screen has. Functions of the screen return abi.NODEVICE on a machine without
// one.
func ScreenSize() (columns, rows uint32, err error) { return screen(screenSize, 0, 0) }

// ScreenWrite writes text from the cursor on: printable ASCII and newlines. It returns abi.OFF while the display is off.
func ScreenWrite(text []byte) error {
	for len(text) > 0 {
		if err := AllowReadOnly(abi.DriverTextScreen, screenBuffer, text); err != nil {
			return err
		}
		n, _, err := screen(screenWrite, uint32(len(text)), 0)
		if err != nil {
			return err
		}
		text = text[min(int(n), len(text)):]
	}
	return nil
}

// ScreenClear empties the screen, and moves the cursor to its first character.
func ScreenClear() error { return screenDo(screenClear, 0, 0) }

// ScreenMove moves the cursor to a column and a row, from 0 up. It returns abi.INVAL if there is no such place.
func ScreenMove(column, row uint32) error { return screenDo(screenSetCursor, column, row) }

// ScreenDisplay turns the display on or off.
func ScreenDisplay(on bool) error { return screenDo(either(screenDisplayOn, on), 0, 0) }

// ScreenCursor shows the cursor or hides it.
func ScreenCursor(on bool) error { return screenDo(either(screenShow, on), 0, 0) }

// ScreenBlink has the cursor blink or not.
func ScreenBlink(on bool) error { return screenDo(either(screenBlinkOn, on), 0, 0) }

func screenDo(command, a0, a1 uint32) error {
	_, _, err := screen(command, a0, a1)
	return err
}

// either is a command that turns something on, or the next, which turns it off.
func either(command uint32, on bool) uint32 {
	if on {
		return command
	}
	return command + 1
}
