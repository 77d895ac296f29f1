package virtio

// FlushPorts is Flush of a transport's device with ports.
func FlushPorts(m *MMIO) { m.device.(*Ports).Flush() }
