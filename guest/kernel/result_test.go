package kernel

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
)

// Every variant as a 32-bit task gets it (TRD104, section 3.2).
func TestNarrow(t *testing.T) {
	const a, b, c, wide, low, high = 11, 12, 13, 0x1234_5678_9abc_def0, 0x9abc_def0, 0x1234_5678
	for _, tt := range []struct{ in, want Result }{
		{Result{abi.Failure, a, 0, 0}, Result{abi.Failure, a, 0, 0}},
		{Result{abi.FailureU32, a, b, 0}, Result{abi.FailureU32, a, b, 0}},
		{Result{abi.Failure2U32, a, b, c}, Result{abi.Failure2U32, a, b, c}},
		{Result{abi.FailureU64, a, wide, 0}, Result{abi.FailureU64, a, low, high}},
		{Result{abi.FailureFnUserdata, a, b, c}, Result{abi.Failure2U32, a, b, c}},
		{Result{abi.FailureAddrLen, a, b, c}, Result{abi.Failure2U32, a, b, c}},
		{Result{abi.Success, 0, 0, 0}, Result{abi.Success, 0, 0, 0}},
		{Result{abi.SuccessU32, a, 0, 0}, Result{abi.SuccessU32, a, 0, 0}},
		{Result{abi.Success2U32, a, b, 0}, Result{abi.Success2U32, a, b, 0}},
		{Result{abi.SuccessU64, wide, 0, 0}, Result{abi.SuccessU64, low, high, 0}},
		{Result{abi.Success3U32, a, b, c}, Result{abi.Success3U32, a, b, c}},
		{Result{abi.SuccessU32U64, a, wide, 0}, Result{abi.SuccessU32U64, a, low, high}},
		{Result{abi.SuccessFnUserdata, a, b, 0}, Result{abi.Success2U32, a, b, 0}},
		{Result{abi.SuccessAddrLen, a, b, 0}, Result{abi.Success2U32, a, b, 0}},
		{Result{abi.SuccessPointer, a, 0, 0}, Result{abi.SuccessU32, a, 0, 0}},
		{Result{abi.SuccessAddress, a, 0, 0}, Result{abi.SuccessU32, a, 0, 0}},
	} {
		in := [4]uint64{uint64(tt.in.variant), tt.in.a, tt.in.b, tt.in.c}
		var got [4]uint64
		got[0], got[1], got[2], got[3] = Narrow(in[0], in[1], in[2], in[3])
		assert.Equal(t, [4]uint64{uint64(tt.want.variant), tt.want.a, tt.want.b, tt.want.c}, got, "variant %d", tt.in.variant)
		if tt.in != tt.want {
			assert.True(t, Wide(abi.Command, in[0]), "variant %d", tt.in.variant)
		}
		assert.False(t, Wide(abi.Yield, in[0]), "a Yield returns no variant")
	}
}
