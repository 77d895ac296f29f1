//go:build kapsel_task

// Command digests has digests and HMACs of memory computed, and compares them with the first ones.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
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
		right, err := task.VerifyHMAC(task.SHA256, keyed[:], key, text[:])
		if err == nil && !right {
			return labour.ErrWrong
		}
		return err
	})
}
