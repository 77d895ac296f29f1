// Package capability holds the privileges of the system as values.
//
// A function that only trusted code may call takes one of these types. Each has an
// unexported field that nothing outside this package can set, so the zero value is the
// only one that other code can write down, and every user refuses it with Require.
// Mint makes real ones; tools/capcheck proves that the board alone calls it. The types
// differ in their field's name, so that Go converts none into another.
package capability

// zeroValue is the panic of a function that was passed no capability; the trace says which.
const zeroValue = "capability: one was wanted, its zero value found: only the board mints"

// Set is one of each capability.
type Set struct {
	MemoryAllocation MemoryAllocation
	TaskManagement   TaskManagement
	MainLoop         MainLoop
	Hardware         Hardware
	MemorySharing    MemorySharing
	FlashWriting     FlashWriting
}

// Mint makes the capabilities. Only the board calls it.
func Mint() Set {
	return Set{
		MemoryAllocation: MemoryAllocation{memoryAllocation: true},
		TaskManagement:   TaskManagement{taskManagement: true},
		MainLoop:         MainLoop{mainLoop: true},
		Hardware:         Hardware{hardware: true},
		MemorySharing:    MemorySharing{memorySharing: true},
		FlashWriting:     FlashWriting{flashWriting: true},
	}
}

// MemoryAllocation allows making grants: taking memory from tasks.
type MemoryAllocation struct{ memoryAllocation bool }

// Require panics unless the capability was minted.
func (c MemoryAllocation) Require() {
	if !c.memoryAllocation {
		panic(zeroValue)
	}
}

// TaskManagement allows creating, stopping and restarting tasks.
type TaskManagement struct{ taskManagement bool }

// Require panics unless the capability was minted.
func (c TaskManagement) Require() {
	if !c.taskManagement {
		panic(zeroValue)
	}
}

// MainLoop allows entering the kernel's main loop.
type MainLoop struct{ mainLoop bool }

// Require panics unless the capability was minted.
func (c MainLoop) Require() {
	if !c.mainLoop {
		panic(zeroValue)
	}
}

// Hardware allows making device registers from ports and addresses.
type Hardware struct{ hardware bool }

// Require panics unless the capability was minted.
func (c Hardware) Require() {
	if !c.hardware {
		panic(zeroValue)
	}
}

// MemorySharing allows letting a task at memory that another task shares.
type MemorySharing struct{ memorySharing bool }

// Require panics unless the capability was minted.
func (c MemorySharing) Require() {
	if !c.memorySharing {
		panic(zeroValue)
	}
}

// FlashWriting allows writing to the writeable flash regions of tasks.
type FlashWriting struct{ flashWriting bool }

// Require panics unless the capability was minted.
func (c FlashWriting) Require() {
	if !c.flashWriting {
		panic(zeroValue)
	}
}
