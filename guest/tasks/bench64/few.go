//go:build kapsel_task && kapsel_trace

package main

// most is the most operations that are measured of a path: few, where all that is executed is
// written to a log.
const most = 4
