//go:build kapsel_task

// Command digests has digests and HMACs of memory computed, HMACs in parts too, and compares them with the first ones.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the HMAC driver.
const (
	setAlgorithm = 0 // command
	update       = 2 // command
	finish       = 3 // command
	hashed       = 0 // subscribe
	keyBuffer    = 0 // read-only allow
	dataBuffer   = 1 // likewise
	result       = 2 // read-write allow
)

var (
	key             = []byte("Jefe")
	text            [700]byte
	digest, keyed   [32]byte
	first, firstKey [32]byte
)

func main() {
	labour.Fill(text[:], 3)
	labour.Do(15, func(int) error {
		if err := task.Digest(task.SHA256, digest[:], text[:]); err != nil {
			return err
		}
		if err := task.HMAC(task.SHA256, keyed[:], key, text[:]); err != nil {
			return err
		}
		if first == [32]byte{} {
			first, firstKey = digest, keyed
		}
		if digest != first || keyed != firstKey || digest == keyed {
			return labour.ErrWrong
		}
		if err := inParts(); err != nil {
			return err
		}
		if keyed != firstKey {
			return labour.ErrWrong
		}
		right, err := task.VerifyHMAC(task.SHA256, keyed[:], key, text[:])
		if err == nil && !right {
			return labour.ErrWrong
		}
		return err
	})
}

// inParts has an HMAC of the memory computed in two parts.
func inParts() error {
	keyed = [32]byte{}
	for _, err := range [...]error{
		task.Command(abi.DriverHMAC, setAlgorithm, uint32(task.SHA256), 0).Err(),
		task.AllowReadOnly(abi.DriverHMAC, keyBuffer, key),
		task.Allow(abi.DriverHMAC, result, keyed[:]),
	} {
		if err != nil {
			return err
		}
	}
	for _, part := range [...][]byte{text[:300], text[300:]} {
		if err := task.AllowReadOnly(abi.DriverHMAC, dataBuffer, part); err != nil {
			return err
		}
		if err := do(update); err != nil {
			return err
		}
	}
	return do(finish)
}

// do gives a command, and waits for its end.
func do(command uint32) error {
	if err := task.Command(abi.DriverHMAC, command, 0, 0).Err(); err != nil {
		return err
	}
	if status, _, _ := task.WaitFor(abi.DriverHMAC, hashed); status != 0 {
		return abi.ErrorCode(status)
	}
	return nil
}
