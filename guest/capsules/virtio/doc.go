// Package virtio is what drivers of virtio devices have in common: the transport behind memory-mapped registers, and the split
// queue (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2"; section numbers are its own). It is a library for the drivers of
// the kinds of devices, and nobody else's.
//
// Everything that a device says is hostile. What a driver relies on it keeps for itself, and never reads back from memory
// that the device can write: which descriptors are free, which chains the device has, where in the rings both are. From the
// device come three things: the used index, an id and a length; each is checked before it is used. Waiting for a device is
// bounded, and so is the work for an interrupt. A device that breaks the protocol is reset, is told of once, and is not used
// any more; its driver's clients get abi.FAIL.
package virtio
