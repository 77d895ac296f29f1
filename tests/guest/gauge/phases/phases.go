// Package phases says when the tasks babbler and gauge do what.
package phases

// In milliseconds.
const (
	Measure = 80  // how long each measurement is
	Alone   = 50  // from the start of gauge to its measurement alone
	Babble  = 200 // from the start of babbler to its write
	Beside  = 203 // from the start of gauge to its measurement beside the write
)

// Line is what babbler writes again and again.
const Line = "babbler: a line of 64 bytes, again and again until 4 MiB are ou.\n"

// Done is the status code that gauge prints at its end.
const Done = 0xd09e
