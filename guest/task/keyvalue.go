package task

import "kapsel/guest/abi"

// Numbers of the key-value driver.
const (
	kvKey    = 0 // read-only allow
	kvValue  = 1 // read-only allow
	kvResult = 0 // read-write allow
	kvGet    = 1 // command
	kvSet    = 2
	kvDelete = 3
	kvAdd    = 4
	kvUpdate = 5
	kvDone   = 0 // subscribe
)

// GetValue copies a key's value to b, or as much of it as there is room for, and returns the whole length. If there is not room for
// all of it the error is abi.SIZE, with that length; without the key, or the right to read its value, abi.NOSUPPORT. The package's
// documentation has the others.
func GetValue(key string, b []byte) (n int, err error) {
	if err = Allow(abi.DriverKeyValue, kvResult, b); err != nil {
		return 0, err
	}
	n, err = keyValue(kvGet, key, nil)
	Allow(abi.DriverKeyValue, kvResult, nil)
	return n, err
}

// SetValue sets a key's value, whether it has one or not. The error is abi.NOSUPPORT if the task may not change the one it has.
func SetValue(key string, value []byte) error { return changeValue(kvSet, key, value) }

// AddValue sets the value of a key that has none. The error is abi.NOSUPPORT if it has one.
func AddValue(key string, value []byte) error { return changeValue(kvAdd, key, value) }

// UpdateValue sets the value of a key that has one. The error is abi.NOSUPPORT if it has none.
func UpdateValue(key string, value []byte) error { return changeValue(kvUpdate, key, value) }

// DeleteValue deletes a key with its value. The error is abi.NOSUPPORT if it has none.
func DeleteValue(key string) error { return changeValue(kvDelete, key, nil) }

// changeValue gives a command that returns nothing.
func changeValue(command uint32, key string, value []byte) error {
	_, err := keyValue(command, key, value)
	return err
}

// keyValue gives a command and waits for its end.
func keyValue(command uint32, key string, value []byte) (n int, err error) {
	if err = AllowReadOnly(abi.DriverKeyValue, kvKey, []byte(key)); err != nil {
		return 0, err
	}
	if err = AllowReadOnly(abi.DriverKeyValue, kvValue, value); err == nil {
		err = Command(abi.DriverKeyValue, command, 0, 0).Err()
	}
	if err == nil {
		status, length, _ := WaitFor(abi.DriverKeyValue, kvDone)
		n, err = int(length), failed(status)
	}
	AllowReadOnly(abi.DriverKeyValue, kvKey, nil)
	AllowReadOnly(abi.DriverKeyValue, kvValue, nil)
	return n, err
}
