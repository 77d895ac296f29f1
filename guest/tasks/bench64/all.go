//go:build kapsel_task && !kapsel_trace

package main

// most is the most operations that are measured of a path.
const most = 2 * many
