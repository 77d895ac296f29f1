//go:build kapsel_kernel

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/capsules/blockcache"
	"kapsel/guest/capsules/kvstore"
	"kapsel/guest/capsules/nonvolatile"
	"kapsel/guest/capsules/volume"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// storage is what tasks keep data with, if there is a disk: a cache of its pages, what is on it, and the drivers.
type storage struct {
	cache    blockcache.Cache
	pages    [cachePages]blockcache.Page
	metadata blockcache.Port
	volume   volume.Volume
	wired    bool

	regions     blockcache.Port
	nonvolatile nonvolatile.Server
	piece       []byte // of what the server is asked for

	buckets  blockcache.Port
	keyValue kvstore.KVStore
}

const (
	cachePages    = 64 // at the most
	minCachePages = 4
	piecePages    = 4 // as many as the cache reads ahead
)

// wire begins to find out what is on a disk.
func (s *storage) wire(disk hil.BlockDevice) {
	memory, n := takePages()
	end := disk.Sectors() / (abi.PageSize / 512) * abi.PageSize
	switch {
	case memory == nil:
		system.debug.WriteString("disk: there is no memory for a cache of it; tasks have no storage\n")
		return
	case end == 0:
		system.debug.WriteString("disk: it has no page of 4096 bytes; tasks have no storage\n")
		return
	}
	s.piece = memory[n*abi.PageSize:]
	s.cache.Init(&system.kernel, disk, memory[:n*abi.PageSize], s.pages[:n])
	if s.metadata.Init(&s.cache, 0, min(end, volume.MetadataSize)) == abi.OK {
		s.volume.Init(&s.metadata, end/abi.PageSize, &system.debug)
		s.wired = true
	}
}

// takePages takes memory for the cache's n pages, and behind them for a piece. The cache has an eighth of the memory that is left at the
// most, so that tasks have the rest. It is nil if there is no memory.
func takePages() (memory []byte, n int) {
	ram := &system.machine.TaskRAM
	n = min(cachePages, max(minCachePages, (len(ram.Low)+len(ram.High))/8/abi.PageSize))
	memory, _ = system.machine.DeviceMemory(uint64(n+piecePages) * abi.PageSize)
	return memory, n
}

// serve waits until it is known what is on the disk, and adds the drivers if that is a storage of ours. It is called before tasks are
// loaded, and waits no longer than the disk's driver does for its device.
func (s *storage) serve(can capability.Set) {
	if !s.wired {
		return
	}
	system.kernel.ServeUntil(s.volume.Settled, can.MainLoop)
	if !s.volume.Usable() {
		return
	}
	s.serveKeyValue(can)
	super := s.volume.Superblock()
	if s.regions.Init(&s.cache, super.RegionsPage*abi.PageSize, super.Pages*abi.PageSize) != abi.OK {
		system.debug.WriteString("disk: the storage has no pages for regions; tasks have no nonvolatile storage\n")
		return
	}
	s.nonvolatile.Init(&system.kernel, &s.regions, &s.volume, s.piece, can.MemoryAllocation)
}

// serveKeyValue adds the key-value store.
func (s *storage) serveKeyValue(can capability.Set) {
	super := s.volume.Superblock()
	from := super.BucketsPage * abi.PageSize
	memory, _ := system.machine.DeviceMemory(abi.PageUp(kvstore.MemorySize))
	if memory == nil || s.buckets.Init(&s.cache, from, from+2*super.Buckets*abi.PageSize) != abi.OK {
		system.debug.WriteString("disk: there is no memory for a key-value store; tasks have none\n")
		return
	}
	s.keyValue.Init(&system.kernel, &s.buckets, super, memory, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverKeyValue, &s.keyValue)
}
