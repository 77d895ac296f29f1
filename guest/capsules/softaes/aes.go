// Package softaes is a hil.AES without a device: the processor computes, a piece in a deferred call, in a time that depends on nothing but
// how much it is.
package softaes

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/aes"
	"kapsel/guest/kernel/hil"
)

// MaxPiece is how many bytes it takes at once: by far less than a millisecond's work, also where a block can only be worked on when the
// one before is done.
const MaxPiece = 512

const (
	blockSize = aes.BlockSize
	atOnce    = aes.Parallel * aes.BlockSize
)

// AES is the engine.
type AES struct {
	deferred kernel.DeferredCall
	client   hil.AESClient
	cipher   aes.Cipher
	message  *hil.AESMessage // nil: nothing goes on
	data     []byte
	work     [atOnce]byte
}

// Init readies the engine.
func (a *AES) Init(k *kernel.Kernel) { a.deferred.Register(k, a) }

// SetAESClient implements hil.AES.
func (a *AES) SetAESClient(client hil.AESClient) { a.client = client }

// CryptAES implements hil.AES.
func (a *AES) CryptAES(m *hil.AESMessage, data []byte) abi.ErrorCode {
	switch {
	case a.message != nil:
		return abi.BUSY
	case len(data) == 0 || len(data) > MaxPiece || m.Mode != hil.AESCTR && len(data)%blockSize != 0:
		return abi.SIZE
	}
	a.message, a.data = m, data
	a.deferred.Set()
	return abi.OK
}

// HandleDeferredCall implements kernel.DeferredClient. Nothing of the key stays.
func (a *AES) HandleDeferredCall() {
	m := a.message
	if m == nil {
		return
	}
	a.message = nil
	a.cipher.SetKey(m.Key[:])
	a.crypt(m, a.data)
	a.cipher.Clear()
	clear(a.work[:])
	a.client.AESDone(m, a.data, abi.OK)
}

// crypt goes through data.
func (a *AES) crypt(m *hil.AESMessage, data []byte) {
	chained := m.Mode == hil.AESMAC || m.Mode == hil.AESCBC && !m.Decrypt
	for len(data) != 0 {
		n := min(len(data), atOnce)
		if chained {
			n = blockSize
		}
		piece := data[:n]
		data = data[n:]
		switch {
		case chained:
			a.chain(m, piece)
		case m.Mode == hil.AESCTR:
			a.count(m, piece)
		case m.Mode == hil.AESCBC:
			a.unchain(m, piece)
		case m.Decrypt:
			copy(a.work[:], piece)
			a.cipher.Decrypt(a.work[:])
			copy(piece, a.work[:])
		default:
			copy(a.work[:], piece)
			a.cipher.Encrypt(a.work[:])
			copy(piece, a.work[:])
		}
	}
}

// chain encrypts a block in the mode CBC (SP 800-38A, 6.2), or adds it to a MAC. It goes byte by byte, because for 16 at once the compiler
// would take a register that is the tasks' (docs/HACKING.md).
func (a *AES) chain(m *hil.AESMessage, block []byte) {
	for i, b := range block {
		a.work[i] = m.Chain[i] ^ b
	}
	a.cipher.Encrypt(a.work[:])
	for i := range m.Chain {
		m.Chain[i] = a.work[i]
	}
	if m.Mode == hil.AESCBC {
		copy(block, m.Chain[:])
	}
}

// unchain decrypts blocks in the mode CBC.
func (a *AES) unchain(m *hil.AESMessage, blocks []byte) {
	copy(a.work[:], blocks)
	a.cipher.Decrypt(a.work[:])
	for at := 0; at < len(blocks); at += blockSize {
		block, plain := blocks[at:at+blockSize], a.work[at:at+blockSize]
		add(plain, m.Chain[:])
		copy(m.Chain[:], block)
		copy(block, plain)
	}
}

// count encrypts or decrypts in the mode CTR (section 6.5). Of a counter whose block is used in part nothing is left.
func (a *AES) count(m *hil.AESMessage, data []byte) {
	for at := 0; at < len(data); at += blockSize {
		copy(a.work[at:], m.Chain[:])
		increment(m.Chain[:])
	}
	a.cipher.Encrypt(a.work[:])
	add(data, a.work[:])
}

// increment adds one to a counter (appendix B.1), in the same time for any.
func increment(counter []byte) {
	carry := uint16(1)
	for i := len(counter) - 1; i >= 0; i-- {
		carry += uint16(counter[i])
		counter[i] = byte(carry)
		carry >>= 8
	}
}

// add adds bytes up, bit by bit: as many as to has.
func add(to, what []byte) {
	for i := range to {
		to[i] ^= what[i]
	}
}
