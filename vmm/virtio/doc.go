// Package virtio models devices of the virtio specification (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2",
// 2022; section numbers are its own): the transport by memory-mapped I/O, split queues, and devices. It needs no KVM.
//
// All that a driver writes, into registers and into memory, is hostile: it is copied once, then checked, then used.
// A driver that breaks the rules finds its device broken (DEVICE_NEEDS_RESET) and has to reset it; nothing that it
// does is an error of the monitor's, and none of it makes a device use more memory than its queues are long.
package virtio
