package task

import "kapsel/guest/abi"

// Numbers of the environment driver.
const (
	environmentSizes     = 1 // commands
	environmentArguments = 2
	environmentVariables = 3
	environmentListen    = 4
	environmentBuffer    = 0 // read-write allow
	environmentAsked     = 0 // subscribe
)

// Args returns the arguments that the machine was given (kapsel run IMAGE TASK... -- ARG...), the same for all its tasks; nil if it was given none. The
// name of a program is not among them. The strings are from the heap: a task that needs them more than once keeps them.
func Args() []string { return stringsOf(environmentArguments) }

// Environ returns the environment that the machine was given, as strings of the form NAME=VALUE, likewise.
func Environ() []string { return stringsOf(environmentVariables) }

// Getenv returns the value of a variable of the environment, and whether there is one of that name. It takes as much of the heap as Environ does.
func Getenv(name string) (value string, ok bool) {
	for _, s := range Environ() {
		if n := len(name); len(s) > n && s[n] == '=' && s[:n] == name {
			return s[n+1:], true
		}
	}
	return "", false
}

// stringsOf reads all arguments, or the whole environment, by a command.
func stringsOf(command uint32) []string {
	sizes := Command(abi.DriverEnvironment, environmentSizes, 0, 0)
	size := sizes.Words[command-environmentArguments]
	if sizes.Err() != nil || size == 0 {
		return nil
	}
	b := make([]byte, size)
	for at := 0; at < len(b); {
		n := readStrings(command, b[at:], at)
		if n == 0 { // the driver has failed
			return nil
		}
		at += n
	}
	return split(string(b))
}

// readStrings reads what a command gives, from an offset on, and returns how many bytes of b it filled.
func readStrings(command uint32, b []byte, at int) int {
	if Allow(abi.DriverEnvironment, environmentBuffer, b) != nil {
		return 0
	}
	r := Command(abi.DriverEnvironment, command, uint32(at), 0)
	Allow(abi.DriverEnvironment, environmentBuffer, nil)
	if r.Err() != nil {
		return 0
	}
	return int(r.Words[0])
}

// split splits text into the strings that have a zero byte behind them each.
func split(text string) []string {
	n := 0
	for i := range len(text) {
		if text[i] == 0 {
			n++
		}
	}
	all := make([]string, 0, n)
	for i, from := 0, 0; i < len(text); i++ {
		if text[i] == 0 {
			all = append(all, text[from:i])
			from = i + 1
		}
	}
	return all
}

// OnTerminate has f called, while the task yields, when the host asks the tasks to end, as kapsel run --ask does at SIGTERM: once. The machine ends when
// all tasks have ended that are told so. Another f takes the place of the one before. The error is abi.NODEVICE in a machine where nobody can ask.
func OnTerminate(f func()) error {
	subscribed := terminate.F != nil // another time the kernel would drop the request that waits
	terminate.F = func(asks, _, _ uint32) {
		if asks != 0 {
			f()
			return
		}
		Command(abi.DriverEnvironment, environmentListen, 0, 0) // the driver was made anew
	}
	if !subscribed {
		if err := Subscribe(abi.DriverEnvironment, environmentAsked, &terminate); err != nil {
			terminate.F = nil
			return err
		}
	}
	err := Command(abi.DriverEnvironment, environmentListen, 0, 0).Err()
	if err == abi.ALREADY {
		return nil
	}
	return err
}

// terminate is what the driver calls.
var terminate Upcall
