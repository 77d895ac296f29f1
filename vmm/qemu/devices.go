package qemu

import (
	"errors"
	"fmt"
	"io/fs"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/disk"
	"kapsel/vmm/ethernet"
)

// wordSize is how much longer QEMU makes the command line for each device: it tells the guest of them itself,
// behind the words that it was given (QEMU manual, "'microvm' virtual platform").
const wordSize = len(" " + abi.VirtioWord + "512@0xfeb00e00:12")

// addDevices makes QEMU's own devices of the configuration's, and opens what they are made of. QEMU puts the first into the
// last of microvm's slots, the next below, and so on; the guest finds them by the command line, in their order.
func (m *Machine) addDevices() error {
	c := &m.config
	if len(c.Devices) == 0 {
		return nil
	}
	if words := wordSize * len(c.Devices); words+len(c.Cmdline) > abi.CmdlineMax {
		return fmt.Errorf("a command line of %d bytes, and %d bytes by which QEMU tells of the devices: the kernel reads at most %d",
			len(c.Cmdline), words, abi.CmdlineMax)
	}
	m.devices = []string{"-global", "virtio-mmio.force-legacy=false"} // version 2, as docs/decisions/0021 has it
	for i, d := range c.Devices {
		var err error
		switch d := d.(type) {
		case vmm.Entropy:
			m.addEntropy(i)
		case vmm.Disk:
			err = m.addDisk(i, d)
		case vmm.Network:
			err = m.addNetwork(i, d)
		case vmm.Console:
			m.addConsole()
		case vmm.Ports:
			err = m.addNamedPorts(d)
		default:
			err = fmt.Errorf("%v: there is no such device under QEMU: use KVM", d)
		}
		if err != nil {
			return &vmm.DeviceError{Err: err}
		}
	}
	return nil
}

// addEntropy adds a source of the host's random bytes.
func (m *Machine) addEntropy(i int) {
	m.devices = append(m.devices,
		"-object", fmt.Sprintf("rng-random,id=entropy%d,filename=/dev/urandom", i),
		"-device", fmt.Sprintf("virtio-rng-device,rng=entropy%d", i))
}

// addDisk adds a block device. QEMU gets the file that we opened and locked, and opens none by itself. What the
// host cannot do is told to the guest: by itself, QEMU stops a machine whose disk is full.
func (m *Machine) addDisk(i int, d vmm.Disk) error {
	if d.Private != 0 {
		return fmt.Errorf("%v is private, which is for a machine under KVM: QEMU's is the file itself, or read-only", d)
	}
	image, err := disk.Open(d.Path, d.ReadOnly)
	if err != nil {
		return err
	}
	file := image.File()
	number := m.hand(file)
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("%v: %w", d, err)
	}
	driver, readOnly := "file", "off"
	if info.Mode()&fs.ModeDevice != 0 {
		driver = "host_device"
	}
	if d.ReadOnly {
		readOnly = "on"
	}
	m.devices = append(m.devices,
		"-add-fd", fmt.Sprintf("fd=%d,set=%[1]d", number),
		"-blockdev", fmt.Sprintf("driver=%s,node-name=image%d,filename=/dev/fdset/%d,read-only=%s,locking=off,discard=unmap", driver, i, number, readOnly),
		"-device", fmt.Sprintf("virtio-blk-device,drive=image%d,serial=disk%d,werror=report,rerror=report", i, m.disks))
	m.disks++
	return nil
}

// addNetwork adds a network device. QEMU's end of its wire is a socket, and we are the other end: QEMU reaches no
// network by itself, and what passes is what passes under KVM.
func (m *Machine) addNetwork(i int, d vmm.Network) error {
	port, err := d.Connection.Open(m.config.Log)
	if err != nil {
		return err
	}
	m.ports = append(m.ports, port)
	wire, theirs, err := ethernet.SocketPair()
	if err != nil {
		return fmt.Errorf("%v: %w", d, err)
	}
	m.relays.Go(func() {
		if err := ethernet.Relay(port, wire); err != nil {
			m.config.Log("network: %v", err)
		}
	})
	m.devices = append(m.devices,
		"-netdev", fmt.Sprintf("dgram,id=net%d,local.type=fd,local.str=%d", i, m.hand(theirs)),
		"-device", fmt.Sprintf("virtio-net-device,netdev=net%d,mac=%v,host_mtu=%d", i, port.MAC(), port.MTU()))
	return nil
}

// closePorts ends the networks, and tells what passed.
func (m *Machine) closePorts() error {
	var errs []error
	for _, port := range m.ports {
		errs = append(errs, port.Close())
		m.config.Log("network: %v", port.Stats())
	}
	m.relays.Wait()
	m.ports = nil
	return errors.Join(errs...)
}

// addConsole adds a console device with one port, which has the machine's input: the UART gets none. Both print
// into the same pipe, so in the order in which the guest does.
func (m *Machine) addConsole() {
	m.com1 = "file,id=com1,path=/dev/fd/1"
	m.devices = append(m.devices,
		"-chardev", "stdio,id=console,signal=off",
		"-device", "virtio-serial-device,id=terminal,max_ports=1", "-device", "virtconsole,bus=terminal.0,chardev=console")
}
