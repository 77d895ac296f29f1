//go:build kapsel_task

// Command clocks sets the date and reads it, and tries to set one that there is not.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

func main() {
	labour.Do(4, func(i int) error {
		set := task.DateTime{Year: 2000 + uint16(i), Month: 3, Day: 1, DayOfWeek: 3, Hour: 12}
		if err := task.SetDateTime(set); err != nil {
			return err
		}
		if task.SetDateTime(task.DateTime{Year: 2001, Month: 2, Day: 29}) == nil {
			return labour.ErrWrong
		}
		t, err := task.GetDateTime()
		if err == nil && (t.Year != set.Year || t.Month != 3 || t.Day != 1) {
			return labour.ErrWrong
		}
		return err
	})
}
