//go:build kapsel_kernel

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/capsules/aes"
	"kapsel/guest/capsules/crc"
	"kapsel/guest/capsules/digest"
	"kapsel/guest/capsules/softaes"
	"kapsel/guest/capsules/softcrc"
	"kapsel/guest/capsules/softdigest"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/crc32c"
)

// computing is what tasks have computed: checksums, digests and ciphers. There is no device for it: the processor does it, each driver by an
// engine of its own.
type computing struct {
	crcEngine softcrc.CRC
	digests   digestEngines
	aesEngine softaes.AES
	crc       crc.CRC
	digest    digests
	aes       aes.AES
}

type digestEngines struct{ sha, hmac softdigest.Digest }

type digests struct {
	sha  digest.SHA
	hmac digest.HMAC
}

func wireCRCEngine(capability.Set) bool {
	if system.machine.HasCRC32() {
		crc32c.Accelerate()
	}
	system.computing.crcEngine.Init(&system.kernel)
	return true
}

func wireDigestEngines(capability.Set) bool {
	system.computing.digests.sha.Init(&system.kernel)
	system.computing.digests.hmac.Init(&system.kernel)
	return true
}

func wireAESEngine(capability.Set) bool {
	system.computing.aesEngine.Init(&system.kernel)
	return true
}

func wireCRC(can capability.Set) bool {
	c := &system.computing
	c.crc.Init(&system.kernel, &c.crcEngine, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverCRC, &c.crc)
	return true
}

func wireDigests(can capability.Set) bool {
	c := &system.computing
	c.digest.hmac.Init(&system.kernel, &c.digests.hmac, can.MemoryAllocation)
	c.digest.sha.Init(&system.kernel, &c.digests.sha, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverHMAC, &c.digest.hmac)
	system.kernel.AddDriver(abi.DriverSHA, &c.digest.sha)
	return true
}

func wireAES(can capability.Set) bool {
	c := &system.computing
	c.aes.Init(&system.kernel, &c.aesEngine, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverAES, &c.aes)
	return true
}
