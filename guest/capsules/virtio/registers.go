package virtio

import (
	"kapsel/guest/abi/virtio"
	"kapsel/guest/mmio"
)

// MMIO is the kind of device whose registers those of virtio-mmio are.
type MMIO struct{}

// Registers of a device, version 2 (4.2.2).
const (
	regMagic            mmio.ReadOnly[MMIO, uint32]  = virtio.RegMagic
	regVersion          mmio.ReadOnly[MMIO, uint32]  = virtio.RegVersion
	regDeviceID         mmio.ReadOnly[MMIO, uint32]  = virtio.RegDeviceID
	regDeviceFeatures   mmio.ReadOnly[MMIO, uint32]  = virtio.RegDeviceFeatures
	regDeviceSelect     mmio.WriteOnly[MMIO, uint32] = virtio.RegDeviceFeaturesSel
	regDriverFeatures   mmio.WriteOnly[MMIO, uint32] = virtio.RegDriverFeatures
	regDriverSelect     mmio.WriteOnly[MMIO, uint32] = virtio.RegDriverFeaturesSel
	regQueueSelect      mmio.WriteOnly[MMIO, uint32] = virtio.RegQueueSel
	regQueueSizeMax     mmio.ReadOnly[MMIO, uint32]  = virtio.RegQueueSizeMax
	regQueueSize        mmio.WriteOnly[MMIO, uint32] = virtio.RegQueueSize
	regQueueReady       mmio.ReadWrite[MMIO, uint32] = virtio.RegQueueReady
	regQueueNotify      mmio.WriteOnly[MMIO, uint32] = virtio.RegQueueNotify
	regInterruptStatus  mmio.ReadOnly[MMIO, uint32]  = virtio.RegInterruptStatus
	regInterruptACK     mmio.WriteOnly[MMIO, uint32] = virtio.RegInterruptACK
	regStatus           mmio.ReadWrite[MMIO, uint32] = virtio.RegStatus
	regQueueDescLow     mmio.WriteOnly[MMIO, uint32] = virtio.RegQueueDescLow
	regQueueDescHigh    mmio.WriteOnly[MMIO, uint32] = virtio.RegQueueDescHigh
	regQueueDriverLow   mmio.WriteOnly[MMIO, uint32] = virtio.RegQueueDriverLow
	regQueueDriverHigh  mmio.WriteOnly[MMIO, uint32] = virtio.RegQueueDriverHigh
	regQueueDeviceLow   mmio.WriteOnly[MMIO, uint32] = virtio.RegQueueDeviceLow
	regQueueDeviceHigh  mmio.WriteOnly[MMIO, uint32] = virtio.RegQueueDeviceHigh
	regConfigGeneration mmio.ReadOnly[MMIO, uint32]  = virtio.RegConfigGeneration
)

// Probe returns what kind of device answers behind the registers, 0 for none, or says why they are not those of a device.
// It touches nothing else (4.2.3.1.1).
func Probe(r *mmio.Device[MMIO]) (id uint32, problem string) {
	switch {
	case regMagic.Read(r) != virtio.Magic:
		return 0, "there are no registers of virtio-mmio"
	case regVersion.Read(r) != virtio.Version:
		return 0, "it is not of version 2"
	}
	return regDeviceID.Read(r), ""
}

// Offers reports whether the device that answers offers a feature below 1<<32. It changes nothing else.
func Offers(r *mmio.Device[MMIO], feature uint32) bool {
	regDeviceSelect.Write(r, 0)
	return regDeviceFeatures.Read(r)&feature != 0
}
