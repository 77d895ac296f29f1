// Package softdigest is a hil.Digest without a device: the processor computes, a piece in a deferred call.
package softdigest

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/sha256"
	"kapsel/guest/kernel/sha512"
)

// MaxPiece is how many bytes it takes at once: by far less than a millisecond's work.
const MaxPiece = 1024

// Digest is the engine.
type Digest struct {
	deferred kernel.DeferredCall
	client   hil.DigestClient
	message  *hil.DigestMessage // nil: nothing goes on
	bytes    []byte             // to add, or to fill
	finishes bool
}

// Init readies the engine.
func (d *Digest) Init(k *kernel.Kernel) { d.deferred.Register(k, d) }

// SetDigestClient implements hil.Digest.
func (d *Digest) SetDigestClient(client hil.DigestClient) { d.client = client }

// StartDigest implements hil.Digest.
func (d *Digest) StartDigest(m *hil.DigestMessage, algorithm hil.DigestAlgorithm) abi.ErrorCode {
	if algorithm.Size() == 0 {
		return abi.NOSUPPORT
	}
	*m = hil.DigestMessage{Algorithm: algorithm}
	start(m)
	return abi.OK
}

// StartHMAC implements hil.Digest, as RFC 2104 defines HMACs: a key that is longer than a block is hashed.
func (d *Digest) StartHMAC(m *hil.DigestMessage, algorithm hil.DigestAlgorithm, key []byte) abi.ErrorCode {
	switch {
	case algorithm.Size() == 0:
		return abi.NOSUPPORT
	case len(key) > MaxPiece:
		return abi.SIZE
	}
	var digest [hil.MaxDigest]byte
	*m = hil.DigestMessage{Algorithm: algorithm, Keyed: true}
	if len(key) > algorithm.BlockSize() {
		start(m)
		add(m, key)
		sum(m, &digest)
		key = digest[:algorithm.Size()]
	}
	startKeyed(m, key, 0x5c)
	m.Outer = m.Value
	startKeyed(m, key, 0x36)
	clear(digest[:])
	return abi.OK
}

// startKeyed begins a hash with a block that has the key and a pad added up.
func startKeyed(m *hil.DigestMessage, key []byte, pad byte) {
	var block [hil.MaxDigestBlock]byte
	copy(block[:], key)
	for i := range block {
		block[i] ^= pad
	}
	start(m)
	add(m, block[:m.Algorithm.BlockSize()])
	clear(block[:])
}

// AddToDigest implements hil.Digest.
func (d *Digest) AddToDigest(m *hil.DigestMessage, data []byte) abi.ErrorCode {
	if len(data) > MaxPiece {
		return abi.SIZE
	}
	return d.ask(m, data, false)
}

// FinishDigest implements hil.Digest.
func (d *Digest) FinishDigest(m *hil.DigestMessage, digest []byte) abi.ErrorCode {
	if len(digest) < hil.MaxDigest {
		return abi.SIZE
	}
	return d.ask(m, digest, true)
}

// ask notes what the next deferred call is to do.
func (d *Digest) ask(m *hil.DigestMessage, bytes []byte, finishes bool) abi.ErrorCode {
	switch {
	case d.message != nil:
		return abi.BUSY
	case m == nil || m.Algorithm.Size() == 0:
		return abi.NOSUPPORT
	}
	d.message, d.bytes, d.finishes = m, bytes, finishes
	d.deferred.Set()
	return abi.OK
}

// HandleDeferredCall implements kernel.DeferredClient.
func (d *Digest) HandleDeferredCall() {
	m := d.message
	if m == nil {
		return
	}
	d.message = nil
	if d.finishes {
		finish(m, (*[hil.MaxDigest]byte)(d.bytes))
	} else {
		add(m, d.bytes)
	}
	d.client.DigestDone(m, d.bytes, abi.OK)
}

// finish fills digest. That of an HMAC is hashed once more, behind the key of the outer hash.
func finish(m *hil.DigestMessage, digest *[hil.MaxDigest]byte) {
	sum(m, digest)
	if m.Keyed {
		m.Value, m.Length = m.Outer, uint64(m.Algorithm.BlockSize())
		add(m, digest[:m.Algorithm.Size()])
		sum(m, digest)
	}
}

// start makes a message one of which nothing has come.
func start(m *hil.DigestMessage) {
	m.Length = 0
	switch m.Algorithm {
	case hil.SHA256:
		h := sha256.New()
		putSHA256(m, &h)
	case hil.SHA384:
		m.Value = sha512.New384().Value
	default:
		m.Value = sha512.New().Value
	}
}

// add adds data behind what has come, block by block: the last one waits in m.Rest until it is whole.
func add(m *hil.DigestMessage, data []byte) {
	block := m.Algorithm.BlockSize()
	filled := int(m.Length % uint64(block))
	m.Length += uint64(len(data))
	if filled != 0 {
		n := copy(m.Rest[filled:block], data)
		data = data[n:]
		if filled+n < block {
			return
		}
		addBlocks(m, m.Rest[:block])
	}
	copy(m.Rest[:], addBlocks(m, data))
}

// addBlocks adds whole blocks, and returns what is behind the last.
func addBlocks(m *hil.DigestMessage, data []byte) (rest []byte) {
	if m.Algorithm == hil.SHA256 {
		h := getSHA256(m)
		rest = h.Add(data)
		putSHA256(m, &h)
		return rest
	}
	h := sha512.Hash{Value: m.Value}
	rest = h.Add(data)
	m.Value = h.Value
	return rest
}

// sum fills digest with that of all that was added.
func sum(m *hil.DigestMessage, digest *[hil.MaxDigest]byte) {
	filled := m.Length % uint64(m.Algorithm.BlockSize())
	rest, blocks := m.Rest[:filled], m.Length-filled
	if m.Algorithm == hil.SHA256 {
		h := getSHA256(m)
		h.Added = blocks
		digest256 := h.Sum(rest)
		copy(digest[:], digest256[:])
		return
	}
	h := sha512.Hash{Value: m.Value, Added: blocks}
	*digest = h.Sum(rest)
}

// getSHA256 is the SHA-256 that a message's value is of.
func getSHA256(m *hil.DigestMessage) (h sha256.Hash) {
	for i := range h.Value {
		h.Value[i] = uint32(m.Value[i])
	}
	return h
}

// putSHA256 keeps it.
func putSHA256(m *hil.DigestMessage, h *sha256.Hash) {
	for i := range h.Value {
		m.Value[i] = uint64(h.Value[i])
	}
}
