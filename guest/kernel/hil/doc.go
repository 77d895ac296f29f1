// Package hil declares what drivers offer each other: interfaces only, so that a capsule
// names no other capsule and no device.
//
// Everything is split-phase. A call returns at once; completion arrives through the
// client that was set before, from an interrupt or a deferred call, never from within the
// call itself. A client may start the next operation from its callback. Buffers are
// static, owned by the caller until a call accepts them (abi.OK), and handed back by the
// callback, even after an error. A call that returns an error did not take the buffer.
package hil
