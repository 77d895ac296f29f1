//go:build kapsel_task

// Command loses samples an ADC whose host closes the port at the fourth time, and all others with it; where it can, it also takes the disk away, to which this
// writes before and behind.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

//kapsel:storage write=3 read=3 modify=3

// most is how often the ADC is sampled until its port is closed: a capsule that failed has lost some.
const most = 100

var buffer [700]byte

func main() {
	labour.Do(labour.Samples+1, func(i int) error {
		if i == labour.Samples {
			return lose()
		}
		v, err := task.ADCSample(0)
		if err != nil {
			return err
		}
		labour.Fill(buffer[:], i)
		if _, err := task.Isolated.WriteAt(buffer[:], 0); err != nil {
			return err
		}
		if v != labour.Sample<<4 { // 12 bits of 16
			return labour.ErrWrong
		}
		return nil
	})
}

// lose samples until that fails, and goes on for a while: what its drivers say of the disk now is not looked at.
func lose() error {
	for n := 0; ; n++ {
		if _, err := task.ADCSample(0); err != nil {
			break
		}
		if n == most {
			return abi.FAIL
		}
	}
	task.Isolated.WriteAt(buffer[:], 0)
	task.Nonvolatile.WriteAt(buffer[:], 0)
	task.Sleep(labour.Second)
	return nil
}
