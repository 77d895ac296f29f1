package kernel

import "kapsel/guest/abi"

// Result is a system call's answer: a variant and its payload. The zero Result is
// Failure with no error code; make one with the functions below.
type Result struct {
	variant abi.Variant
	a, b, c uint64
}

// Failed is Failure: the call failed for the reason e.
func Failed(e abi.ErrorCode) Result { return Result{variant: abi.Failure, a: uint64(e)} }

// Done is Success with no value.
func Done() Result { return Result{variant: abi.Success} }

// Value is Success with one 32-bit value.
func Value(v uint32) Result { return Result{variant: abi.SuccessU32, a: uint64(v)} }

// Value64 is Success with one 64-bit value.
func Value64(v uint64) Result { return Result{variant: abi.SuccessU64, a: v} }

// Outcome is Success for abi.OK, else Failure.
func Outcome(e abi.ErrorCode) Result {
	if e == abi.OK {
		return Done()
	}
	return Failed(e)
}

// narrow is the result as a 32-bit task gets it: pairs, pointers and addresses under the
// variants of 32-bit words, and a 64-bit value as two words, the low one first.
//
//go:noinline
func (r Result) narrow() Result {
	switch r.variant {
	case abi.FailureFnUserdata, abi.FailureAddrLen:
		r.variant = abi.Failure2U32
	case abi.SuccessFnUserdata, abi.SuccessAddrLen:
		r.variant = abi.Success2U32
	case abi.SuccessPointer, abi.SuccessAddress:
		r.variant = abi.SuccessU32
	case abi.SuccessU64:
		r.a, r.b = r.a&0xffff_ffff, r.a>>32
	case abi.FailureU64, abi.SuccessU32U64:
		r.b, r.c = r.b&0xffff_ffff, r.b>>32
	}
	return r
}

// address is Success with a user address (Memop).
func address(v uint64) Result { return Result{variant: abi.SuccessAddress, a: v} }
