// Package virtio has the numbers and layouts of the virtio specification (OASIS, "Virtual I/O Device (VIRTIO)
// Version 1.2", 2022; section numbers are its own), which drivers in the guest and devices in the monitor share.
// All of it is little-endian.
package virtio
