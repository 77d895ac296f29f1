package hil

import "kapsel/guest/abi"

// DigestAlgorithm is a hash function of FIPS 180-4, by Tock's numbers (capsules/extra/src/hmac.rs).
type DigestAlgorithm uint8

// Algorithms.
const (
	SHA256 DigestAlgorithm = iota
	SHA384
	SHA512
)

// MaxDigest is the size of the longest digest in bytes, MaxDigestBlock that of the longest block.
const (
	MaxDigest      = 64
	MaxDigestBlock = 128
)

// Size is the size of an algorithm's digest in bytes, BlockSize that of its block. Both are 0 for what is none.
func (a DigestAlgorithm) Size() int {
	switch a {
	case SHA256:
		return 32
	case SHA384:
		return 48
	case SHA512:
		return 64
	}
	return 0
}

// BlockSize is the size of an algorithm's block in bytes.
func (a DigestAlgorithm) BlockSize() int {
	switch a {
	case SHA256:
		return 64
	case SHA384, SHA512:
		return 128
	}
	return 0
}

// DigestMessage is what a Digest knows of a message of which some has come: between two calls its client keeps it, and may go on with
// another message.
type DigestMessage struct {
	Algorithm DigestAlgorithm
	Keyed     bool // the digest is to be an HMAC
	Length    uint64
	Value     [8]uint64 // of the blocks that have come
	Outer     [8]uint64 // of the outer hash's key, if it is keyed
	Rest      [MaxDigestBlock]byte
}

// Digest computes digests of messages that come in pieces, and HMACs (RFC 2104) of them.
type Digest interface {
	// SetDigestClient sets who is called. It is called once, before anything else.
	SetDigestClient(client DigestClient)
	// StartDigest makes m one of which nothing has come. It returns abi.NOSUPPORT for an algorithm that the engine does not have.
	StartDigest(m *DigestMessage, algorithm DigestAlgorithm) abi.ErrorCode
	// StartHMAC makes m one of which nothing has come, for an HMAC by a key of any length. It returns abi.NOSUPPORT likewise, and
	// abi.SIZE for a key that is longer than what the engine takes at once.
	StartHMAC(m *DigestMessage, algorithm DigestAlgorithm, key []byte) abi.ErrorCode
	// AddToDigest adds data to a message, and then calls DigestDone, never from within its own call. It returns abi.BUSY while that
	// goes on, and abi.SIZE for more than the engine takes at once.
	AddToDigest(m *DigestMessage, data []byte) abi.ErrorCode
	// FinishDigest fills the start of digest, of MaxDigest bytes, with the message's digest or HMAC, and then calls DigestDone likewise.
	// It returns abi.BUSY and abi.SIZE likewise.
	FinishDigest(m *DigestMessage, digest []byte) abi.ErrorCode
}

// DigestClient is who a Digest calls.
type DigestClient interface {
	// DigestDone hands the message and the data or digest back. e is abi.OK, or abi.FAIL if the engine could not do it.
	DigestDone(m *DigestMessage, bytes []byte, e abi.ErrorCode)
}
