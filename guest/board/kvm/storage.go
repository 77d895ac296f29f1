//go:build kapsel_kernel

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/capsules/blockcache"
	"kapsel/guest/capsules/kvstore"
	"kapsel/guest/capsules/nonvolatile"
	"kapsel/guest/capsules/volume"
	"kapsel/guest/kernel/capability"
)

// storage is what tasks keep data with, if there is a disk: a cache of its pages, what is on it, and the drivers.
type storage struct {
	cached
	volume volume.Volume
	memory []byte // of the cache, and behind it a piece of what the server is asked for

	keyValueMemory []byte

	nonvolatile nonvolatile.Server
	keyValue    kvstore.KVStore
}

// cached is the cache and its parts of the disk.
type cached struct {
	cache                      blockcache.Cache
	pages                      [cachePages]blockcache.Page
	metadata, regions, buckets blockcache.Port
}

const (
	cachePages    = 64 // at the most
	minCachePages = 4
	piecePages    = 4 // as many as the cache reads ahead
)

// wireCache makes a cache of the disk, unless that is for the raw driver.
func wireCache(capability.Set) bool {
	s := &system.devices.storage
	if !made("virtioblk") || system.instruments.raw() {
		return false
	}
	if s.memory == nil {
		s.memory = takePages()
	}
	if s.memory == nil {
		system.debug.WriteString("disk: there is no memory for a cache of it; tasks have no storage\n")
		return false
	}
	n := len(s.memory)/abi.PageSize - piecePages
	s.cache.Init(&system.kernel, &system.devices.disk.driver, s.memory[:n*abi.PageSize], s.pages[:n])
	return true
}

// wireVolume begins to find out what is on the disk.
func wireVolume(capability.Set) bool {
	s := &system.devices.storage
	if !made("blockcache") {
		return false
	}
	end := diskEnd()
	if end == 0 {
		system.debug.WriteString("disk: it has no page of 4096 bytes; tasks have no storage\n")
		return false
	}
	if s.metadata.Size() == 0 && s.metadata.Init(&s.cache, 0, min(end, volume.MetadataSize)) != abi.OK {
		return false
	}
	s.volume.Init(&s.metadata, end/abi.PageSize, &system.debug)
	return true
}

// diskEnd is the end of the disk's last page, in bytes.
func diskEnd() uint64 {
	return system.devices.disk.driver.Sectors() / (abi.PageSize / 512) * abi.PageSize
}

// takePages takes memory for the cache's pages, and behind them for a piece. The cache has an eighth of the memory that is left at the
// most, so that tasks have the rest. It is nil if there is no memory.
func takePages() []byte {
	ram := &system.machine.TaskRAM
	n := min(cachePages, max(minCachePages, (len(ram.Low)+len(ram.High))/8/abi.PageSize))
	memory, _ := system.machine.DeviceMemory(uint64(n+piecePages) * abi.PageSize)
	return memory
}

// diskIsKnown reports whether it is known what is on the disk, if there is one. That takes no longer than the disk's driver waits for
// its device.
func diskIsKnown() bool { return !made("volume") || system.devices.storage.volume.Settled() }

// hasStorage reports whether there is a storage of ours on the disk.
func hasStorage() bool { return made("volume") && system.devices.storage.volume.Usable() }

// wireKeyValue adds the key-value store.
func wireKeyValue(can capability.Set) bool {
	s := &system.devices.storage
	if !hasStorage() {
		return false
	}
	super := s.volume.Superblock()
	from := super.BucketsPage * abi.PageSize
	if !keep(&s.keyValueMemory, abi.PageUp(kvstore.MemorySize)) || s.buckets.Size() == 0 && s.buckets.Init(&s.cache, from, from+2*super.Buckets*abi.PageSize) != abi.OK {
		system.debug.WriteString("disk: there is no memory for a key-value store; tasks have none\n")
		return false
	}
	s.keyValue.Init(&system.kernel, &s.buckets, super, s.keyValueMemory, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverKeyValue, &s.keyValue)
	return true
}

// wireNonvolatile adds the nonvolatile storage.
func wireNonvolatile(can capability.Set) bool {
	s := &system.devices.storage
	if !hasStorage() {
		return false
	}
	super := s.volume.Superblock()
	if s.regions.Size() == 0 && s.regions.Init(&s.cache, super.RegionsPage*abi.PageSize, super.Pages*abi.PageSize) != abi.OK {
		system.debug.WriteString("disk: the storage has no pages for regions; tasks have no nonvolatile storage\n")
		return false
	}
	piece := s.memory[len(s.memory)-piecePages*abi.PageSize:]
	s.nonvolatile.Init(&system.kernel, &s.regions, &s.volume, piece, can.MemoryAllocation)
	return true
}
