//go:build kapsel_task

// Command almanac reads and sets the machine's clock, and counts its lives in its flash by the app flash driver.
package main

import "kapsel/guest/task"

//kapsel:flash 4096

var buffer [4096]byte

// say prints what a call ended with.
func say(what string, err error) {
	if err != nil {
		what += ": " + err.Error()
	}
	task.Print("almanac: " + what + "\n")
}

// two are two digits.
func two(n uint8) string {
	if n < 10 {
		return "0" + task.Decimal(uint64(n))
	}
	return task.Decimal(uint64(n))
}

// sayTime prints the time.
func sayTime() {
	t, err := task.GetDateTime()
	say("time "+task.Decimal(uint64(t.Year))+"-"+two(t.Month)+"-"+two(t.Day)+" "+two(t.Hour)+":"+two(t.Minute)+":"+two(t.Second)+
		" day "+task.Decimal(uint64(t.DayOfWeek)), err)
}

func main() {
	flash := task.Flash()
	if flash[0] == 0 {
		sayTime()
		say("set", task.SetDateTime(task.DateTime{Year: 2000, Month: 2, Day: 29, Hour: 23, Minute: 59}))
		sayTime()
		say("no date", task.SetDateTime(task.DateTime{Year: 2001, Month: 2, Day: 29}))
		say("no month", task.SetDateTime(task.DateTime{Year: 2001, Day: 1}))
	}
	buffer[0] = flash[0] + 1
	say("write", task.WriteFlash(flash, buffer[:1]))
	say("write all", task.WriteFlash(flash[1:], buffer[1:]))
	say("write beyond", task.WriteFlash(flash[1:], buffer[:]))
	say("life "+task.Decimal(uint64(flash[0])), nil)
	if flash[0] < 3 {
		task.Restart(0)
	}
	task.Exit(0)
}
