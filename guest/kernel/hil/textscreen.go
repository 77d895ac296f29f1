package hil

import "kapsel/guest/abi"

// TextScreen shows rows of characters. One request goes on at a time: each but Size returns abi.OK, and its client is called later; or
// abi.BUSY while another goes on, abi.INVAL for arguments that there are not, and what else keeps the screen from being used:
// abi.NODEVICE, abi.OFF or abi.FAIL.
type TextScreen interface {
	// SetTextScreenClient sets who is called. It is called once, before anything else.
	SetTextScreenClient(client TextScreenClient)
	// Size is how many columns and rows there are. It never changes.
	Size() (columns, rows uint32)
	// Print writes the first n bytes of buf from the cursor on; the next row begins behind a newline and behind the last column, and
	// behind the last row all rows move up. It returns abi.SIZE unless 0 < n <= len(buf).
	Print(buf []byte, n int) abi.ErrorCode
	// SetCursor moves the cursor to a column and a row, from 0 up.
	SetCursor(column, row uint32) abi.ErrorCode
	// ShowCursor shows the cursor, or hides it.
	ShowCursor(on bool) abi.ErrorCode
	// BlinkCursor has the cursor blink, or not.
	BlinkCursor(on bool) abi.ErrorCode
	// Display turns the display on, as it is at first, or off. While it is off it shows nothing, and nothing else can be asked for:
	// abi.OFF. What it showed it shows again when it is on.
	Display(on bool) abi.ErrorCode
	// Clear empties all rows, and moves the cursor to the first character.
	Clear() abi.ErrorCode
}

// TextScreenClient is who a TextScreen calls.
type TextScreenClient interface {
	// ScreenDone says that a request but Print is done, with abi.OK, or that the screen cannot be used any more.
	ScreenDone(e abi.ErrorCode)
	// Printed hands buf back, after its first n bytes were written with abi.OK.
	Printed(buf []byte, n int, e abi.ErrorCode)
}
