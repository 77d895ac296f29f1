//go:build kapsel_kernel && kapsel_benchmark

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/arch/amd64"
	"kapsel/guest/capsules/benchmark"
	"kapsel/guest/capsules/blockcache"
	"kapsel/guest/capsules/rawblock"
	"kapsel/guest/capsules/rawnet"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/mmio"
)

// benchmarking says that this kernel is one to measure: it tells of a fault in short.
const benchmarking = true

// instruments are what measures the kernel from within.
type instruments struct {
	ports    mmio.Ports
	page     mmio.Memory
	memory   mmio.Memory // a page of RAM, as if it were a device's
	store    dma.Store   // likewise, with one buffer
	counter  benchmark.Counter
	alarm    benchmark.Alarm
	driver   benchmark.Benchmark
	disk     benchmark.Disk
	cache    blockcache.Cache
	pages    [measuredPages]blockcache.Page
	port     blockcache.Port // onto all of the disk
	rawBlock rawblock.RawBlock
	rawNet   rawnet.RawNet
	wired    bool
	isRaw    bool // disk and network are for the raw drivers
}

// measuredPages is how many pages the cache of the benchmark's disk has.
const measuredPages = 4

// obey sets what a word of the command line asks for. It reports false if it does not know the word.
func (i *instruments) obey(text []byte) bool {
	if string(text) != "raw" {
		return false
	}
	i.isRaw = true
	return true
}

// alarmFor is the alarm that the alarm capsule gets.
func (i *instruments) alarmFor(t *amd64.Timer) hil.Alarm {
	i.alarm.Init(t, t)
	return &i.alarm
}

// wire connects the benchmark capsule.
func (i *instruments) wire(can capability.Set) bool {
	if i.wired { // it took what it is given once
		return false
	}
	i.wired = true
	k, m := &system.kernel, system.machine
	i.ports = mmio.NewPorts(abi.PortMark, 12, can.Hardware)
	i.page = mmio.NewMemory(m.MapDevice(abi.BenchmarkMMIO), abi.PageSize, can.Hardware)
	ram := m.CPU.Frame(m.TaskRAM.Take(abi.PageSize))
	i.memory = mmio.NewMemory(uintptr(abi.DirectMap+ram), abi.PageSize, can.Hardware)
	memory, physical := m.DeviceMemory(abi.PageSize)
	pages, _ := m.DeviceMemory((2 + measuredPages) * abi.PageSize)
	i.disk.Init(k)
	i.cache.Init(k, &i.disk, pages[2*abi.PageSize:], i.pages[:])
	i.port.Init(&i.cache, 0, abi.PageSize)
	i.driver.Init(k, benchmark.Devices{
		Ports:  mmio.NewDevice[benchmark.Ports](&i.ports, can.Hardware),
		Page:   mmio.NewDevice[benchmark.Page](&i.page, can.Hardware),
		Memory: mmio.NewDevice[benchmark.Memory](&i.memory, can.Hardware),
		Other:  &i.counter,
		Buffer: dma.NewRegion(&i.store, memory, physical, can.Hardware).Buffer(abi.PageSize),

		Storage: &i.port,
		From:    pages[:abi.PageSize],
		To:      pages[abi.PageSize:][:abi.PageSize],
	}, &i.alarm, can.MemoryAllocation)
	k.AddDriver(abi.DriverBenchmark, &i.driver)
	for n := range uint32(idleDrivers) {
		k.AddDriver(abi.DriverBenchmark+1+n, idleDriver{})
	}
	return true
}

// raw reports whether the command line asks for the devices as they are.
func (i *instruments) raw() bool { return i.isRaw }

// wireDisk lets tasks at a block device as it is.
func (i *instruments) wireDisk(d hil.BlockDevice, can capability.Set) bool {
	if i.isRaw {
		i.rawBlock.Init(&system.kernel, d, can.MemoryAllocation)
		system.kernel.AddDriver(abi.DriverRawBlock, &i.rawBlock)
	}
	return i.isRaw
}

// wireNetwork lets tasks at a network device as it is.
func (i *instruments) wireNetwork(n hil.Ethernet, can capability.Set) bool {
	if i.isRaw {
		i.rawNet.Init(&system.kernel, n, can.MemoryAllocation)
		system.kernel.AddDriver(abi.DriverRawNet, &i.rawNet)
	}
	return i.isRaw
}

// clear, clearRawBlock and clearRawNet make capsules what they were before they were wired.
func (i *instruments) clear()         { i.driver = benchmark.Benchmark{} }
func (i *instruments) clearRawBlock() { i.rawBlock = rawblock.RawBlock{} }
func (i *instruments) clearRawNet()   { i.rawNet = rawnet.RawNet{} }

// An idleDriver answers no command. Such ones show what the number of drivers costs.
type idleDriver struct{}

// Command implements kernel.Driver.
func (idleDriver) Command(kernel.TaskID, uint32, uint32, uint32) kernel.Result {
	return kernel.Failed(abi.NOSUPPORT)
}

// Slots implements kernel.Driver.
func (idleDriver) Slots() *kernel.Slots { return nil }

// booted notes when booting came to what, by the time-stamp counter.
func (i *instruments) booted(entered, main, loaded uint64) {
	i.driver.Boot = [...]uint64{abi.BootEntered: entered, abi.BootMain: main, abi.BootLoaded: loaded}
}
