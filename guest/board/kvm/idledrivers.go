//go:build kapsel_kernel && kapsel_benchmark && kapsel_drivers

package main

// idleDrivers is how many drivers that nobody calls the benchmark's board has.
const idleDrivers = 26
