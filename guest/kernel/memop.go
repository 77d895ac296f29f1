package kernel

import "kapsel/guest/abi"

// memop moves the task's break or tells it about its memory. For a task that it makes Growing it
// returns what is true in the end.
//
//go:nosplit
func (k *Kernel) memop(t *Task, op uint32, arg uint64) Result {
	m := &t.memory
	switch op {
	case abi.MemopBrk:
		if !k.moveBreak(t, arg) {
			return Failed(abi.NOMEM)
		}
		return Done()
	case abi.MemopSbrk:
		if t.bits32 {
			return k.sbrk(t, int64(int32(arg)))
		}
		return k.sbrk(t, int64(arg))
	case abi.MemopRAMStart:
		return address(m.ramStart)
	case abi.MemopRAMEnd:
		return address(m.ramEnd())
	case abi.MemopFlashStart:
		return address(m.flashStart)
	case abi.MemopFlashEnd:
		return address(m.flashStart + m.flashSize)
	case abi.MemopGrantStart:
		return address(m.kernelBreak)
	case abi.MemopFlashRegions:
		return Value(uint32(t.object.WriteableRegions()))
	case abi.MemopRegionStart, abi.MemopRegionEnd:
		return regionEdge(t, op, arg)
	case abi.MemopSetStackTop:
		t.stackTop = arg
		return Done()
	case abi.MemopSetHeapStart:
		t.heapStart = arg
		return Done()
	case abi.MemopSetFSBase, abi.MemopSetGSBase:
		if t.bits32 {
			return Failed(abi.NOSUPPORT)
		}
		if arg >= abi.UserMax {
			return Failed(abi.INVAL)
		}
		k.cpu.SetSegmentBase(t.slot, op, arg)
		return Done()
	}
	return Failed(abi.NOSUPPORT)
}

// sbrk moves the break by delta bytes and returns where it was.
func (k *Kernel) sbrk(t *Task, delta int64) Result {
	old := t.memory.appBreak
	addr := old + uint64(delta)
	if (delta < 0) != (addr < old) || !k.moveBreak(t, addr) {
		return Failed(abi.NOMEM)
	}
	return address(old)
}

// regionEdge is where writeable flash region i starts or ends. As on Tock, one without bytes is none.
func regionEdge(t *Task, op uint32, i uint64) Result {
	if i >= uint64(t.object.WriteableRegions()) {
		return Failed(abi.FAIL)
	}
	r, _ := t.object.WriteableRegion(int(i))
	if r.Size == 0 {
		return Failed(abi.FAIL)
	}
	edge := t.memory.flashStart + uint64(r.Offset)
	if op == abi.MemopRegionEnd {
		edge += uint64(r.Size)
	}
	return address(edge)
}
