package task

import "kapsel/guest/abi"

// Numbers of the button driver.
const (
	buttonCount   = 0
	buttonEnable  = 1
	buttonDisable = 2
	buttonRead    = 3
	buttonChanged = 0 // subscribe
)

// Buttons returns how many buttons the machine has. The error is abi.NODEVICE if it has none.
func Buttons() (n uint32, err error) { return number(abi.DriverButton, buttonCount, 0) }

// Pressed reports whether a button, numbered from 0 on, is pressed. The error is abi.INVAL if there is no such button.
func Pressed(button uint32) (pressed bool, err error) {
	n, err := number(abi.DriverButton, buttonRead, button)
	return n != 0, err
}

// ListenToButton has OnButton's function, or WaitForButton, told when a button is pressed or released, or no longer. The error is
// abi.INVAL if there is no such button, abi.NOMEM if the task has no room for what the driver keeps.
func ListenToButton(button uint32, listen bool) error {
	command := uint32(buttonDisable)
	if listen {
		command = buttonEnable
	}
	return Command(abi.DriverButton, command, button, 0).Err()
}

// OnButton has u called, while the task yields, with a button and 1 when it was pressed, 0 when it was released. Nil calls nobody.
func OnButton(u *Upcall) error { return Subscribe(abi.DriverButton, buttonChanged, u) }

// WaitForButton waits until a button is pressed or released that the task listens to.
func WaitForButton() (button uint32, pressed bool) {
	button, level, _ := WaitFor(abi.DriverButton, buttonChanged)
	return button, level != 0
}
