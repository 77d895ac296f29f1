// Package vmm is a virtual machine monitor: it boots a Kapsel image in a KVM virtual
// machine with one processor and says how the machine ended.
//
//	img, err := image.Open(ctx, "build/kapsel.elf")
//	m, err := vmm.New(ctx, vmm.Config{Image: img, Console: os.Stdout})
//	defer m.Close()
//	exit, err := m.Run(ctx) // cancel ctx to stop a guest that does not stop by itself
//
// A Machine is a library value: its calls return, it has no global state, and many may
// run in one process. What the guest does, however hostile, becomes an Exit, a counted
// event or a line in the log, never a panic.
//
// The machine: RAM from 0 (and from 4 GiB, if there is more than 3 GiB), a local APIC in
// the host's kernel, an I/O APIC, a 16550 UART at COM1, a debug exit port, and the virtio devices of Config.Devices. The
// contract with the guest is package kapsel/guest/abi.
package vmm
