package capability

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestZeroValuesAreRefused(t *testing.T) {
	var zero Set
	real := Mint()
	for name, require := range map[string][2]func(){
		"MemoryAllocation": {zero.MemoryAllocation.Require, real.MemoryAllocation.Require},
		"TaskManagement":   {zero.TaskManagement.Require, real.TaskManagement.Require},
		"MainLoop":         {zero.MainLoop.Require, real.MainLoop.Require},
		"Hardware":         {zero.Hardware.Require, real.Hardware.Require},
		"MemorySharing":    {zero.MemorySharing.Require, real.MemorySharing.Require},
		"FlashWriting":     {zero.FlashWriting.Require, real.FlashWriting.Require},
	} {
		assert.PanicsWithValue(t, "capability: one was wanted, its zero value found: only the board mints", require[0], name)
		assert.NotPanics(t, require[1], name)
	}
}
