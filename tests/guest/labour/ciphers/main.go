//go:build kapsel_task

// Command ciphers has memory enciphered and deciphered again.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

var (
	key    = []byte("0123456789abcdef")
	vector = []byte("fedcba9876543210")
	plain  [608]byte
	out    [608]byte
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
		if err := task.DecryptAES(task.AESCTR, out[:], key, vector, out[:]); err != nil {
			return err
		}
		if err := labour.Same(out[:], i); err != nil {
			return err
		}
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
