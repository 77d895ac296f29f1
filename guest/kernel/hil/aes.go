package hil

import "kapsel/guest/abi"

// AESMode is a mode of operation of SP 800-38A.
type AESMode uint8

// Modes.
const (
	AESECB AESMode = iota
	AESCBC
	AESCTR // the last block may be a part of one
	AESMAC // CBC of which nothing is kept but the chain: what CCM authenticates with (SP 800-38C)
)

// Sizes in bytes.
const (
	AESBlockSize  = 16
	AES128KeySize = 16
)

// AESMessage is what an AES needs to know of a message of which some has come: between two calls its client keeps it, and may go on with
// another message.
type AESMessage struct {
	Mode    AESMode
	Decrypt bool // in the modes ECB and CBC
	Key     [AES128KeySize]byte
	Chain   [AESBlockSize]byte // the initialization vector, or what it has become: the last block of ciphertext, the next counter
}

// AES encrypts and decrypts by AES-128 messages that come in pieces.
type AES interface {
	// SetAESClient sets who is called. It is called once, before anything else.
	SetAESClient(client AESClient)
	// CryptAES encrypts or decrypts data in place, goes on with the chain, and then calls AESDone, never from within its own call. It
	// returns abi.BUSY while that goes on, and abi.SIZE for no data, for more than the engine takes at once, or for what is not whole
	// blocks where the mode wants such.
	CryptAES(m *AESMessage, data []byte) abi.ErrorCode
}

// AESClient is who an AES calls.
type AESClient interface {
	// AESDone hands message and data back. e is abi.OK, or abi.FAIL if the engine could not do it.
	AESDone(m *AESMessage, data []byte, e abi.ErrorCode)
}
