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

// Value2 is Success with two 32-bit values.
func Value2(v, w uint32) Result { return Result{variant: abi.Success2U32, a: uint64(v), b: uint64(w)} }

// Value3 is Success with three 32-bit values.
func Value3(v, w, x uint32) Result {
	return Result{variant: abi.Success3U32, a: uint64(v), b: uint64(w), c: uint64(x)}
}

// Value64 is Success with one 64-bit value.
func Value64(v uint64) Result { return Result{variant: abi.SuccessU64, a: v} }

// Outcome is Success for abi.OK, else Failure.
func Outcome(e abi.ErrorCode) Result {
	if e == abi.OK {
		return Done()
	}
	return Failed(e)
}

// Wide reports whether the result words of a system call, of which s0 is the first, may be more than
// words of 32 bits. What Yield returns is not, nor are the first variants of failures and successes.
func Wide(class abi.Class, s0 uint64) bool {
	return s0%uint64(abi.Success) > uint64(abi.Failure2U32) && class != abi.Yield
}

// Narrow is what a 32-bit task gets of result words that may be wide: pairs, pointers and addresses
// under the variants of 32-bit words, and a 64-bit value as two words, the low one first.
//
//go:noinline
func Narrow(s0, s1, s2, s3 uint64) (_, _, _, _ uint64) {
	switch abi.Variant(s0) {
	case abi.FailureFnUserdata, abi.FailureAddrLen:
		s0 = uint64(abi.Failure2U32)
	case abi.SuccessFnUserdata, abi.SuccessAddrLen:
		s0 = uint64(abi.Success2U32)
	case abi.SuccessPointer, abi.SuccessAddress:
		s0 = uint64(abi.SuccessU32)
	case abi.SuccessU64:
		s1, s2 = s1&0xffff_ffff, s1>>32
	case abi.FailureU64, abi.SuccessU32U64:
		s2, s3 = s2&0xffff_ffff, s2>>32
	}
	return s0, s1, s2, s3
}

// address is Success with a user address (Memop).
func address(v uint64) Result { return Result{variant: abi.SuccessAddress, a: v} }
