// Package model says how many cycles llvm-mca, LLVM's machine code analyzer, gives the paths of a
// benchmark image: Read takes QEMU's log of a machine that executes the image one instruction at
// a time, Trace.Path finds the instructions of a path in it, and Cycles has them modelled.
//
// A model is no measurement. It takes the instructions in a straight line, with all they need
// in the first-level cache and every branch predicted, and times neither a change of privilege
// level nor what is the system's alone.
package model
