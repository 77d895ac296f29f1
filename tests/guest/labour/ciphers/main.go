//go:build kapsel_task

// Command ciphers has memory enciphered, at once and in parts, and deciphered again.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the AES driver.
const (
	setAlgorithm = 1 // command
	setup        = 2 // command
	goOn         = 3 // command
	finish       = 4 // command
	crypted      = 0 // subscribe
	source       = 2 // read-only allow
	destination  = 0 // read-write allow
)

var (
	key    = []byte("0123456789abcdef")
	vector = []byte("fedcba9876543210")
	plain  [608]byte
	out    [608]byte
	parts  [608]byte
	sealed [40 + 8]byte
	opened [40]byte
)

func main() {
	labour.Do(15, func(i int) error {
		labour.Fill(plain[:], i)
		if err := task.EncryptAES(task.AESCTR, out[:], key, vector, plain[:]); err != nil {
			return err
		}
		if out == plain {
			return labour.ErrWrong
		}
		if err := inParts(); err != nil {
			return err
		}
		if parts != out {
			return labour.ErrWrong
		}
		if err := task.DecryptAES(task.AESCTR, out[:], key, vector, out[:]); err != nil {
			return err
		}
		if err := labour.Same(out[:], i); err != nil {
			return err
		}
		copy(sealed[:], plain[:8])
		if err := task.SealCCM(sealed[:], key, vector[:13], plain[:40], 8, 8); err != nil {
			return err
		}
		right, err := task.OpenCCM(opened[:], key, vector[:13], sealed[:], 8, 8)
		if err == nil && !right {
			return labour.ErrWrong
		}
		return err
	})
}

// inParts has the memory enciphered in two parts of one message.
func inParts() error {
	if err := task.Command(abi.DriverAES, setAlgorithm, uint32(task.AESCTR), 1).Err(); err != nil {
		return err
	}
	for number, b := range [...][]byte{key, vector} {
		if err := task.AllowReadOnly(abi.DriverAES, uint32(number), b); err != nil {
			return err
		}
	}
	const half = len(plain) / 2
	if err := part(setup, 0, half); err != nil {
		return err
	}
	if err := part(goOn, half, len(plain)); err != nil {
		return err
	}
	return task.Command(abi.DriverAES, finish, 0, 0).Err()
}

// part has a part of the memory enciphered by a command.
func part(command uint32, from, to int) error {
	if err := task.AllowReadOnly(abi.DriverAES, source, plain[from:to]); err != nil {
		return err
	}
	if err := task.Allow(abi.DriverAES, destination, parts[from:to]); err != nil {
		return err
	}
	if err := task.Command(abi.DriverAES, command, 0, 0).Err(); err != nil {
		return err
	}
	if status, _, _ := task.WaitFor(abi.DriverAES, crypted); status != 0 {
		return abi.ErrorCode(status)
	}
	return nil
}
