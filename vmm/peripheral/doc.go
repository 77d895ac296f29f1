// Package peripheral is what stands, on the host, for the devices that the kernel has at the other end of ports: a converter that is
// fed from a file, a buzzer, and a text screen. What the guest sends is hostile: it is read with bounds, and a line that makes no sense ends the
// use of the port.
package peripheral
