package aes

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// CCM (SP 800-38C) as IEEE 802.15.4 has it: a nonce of 13 bytes, so that lengths have two. A message is one buffer: from authOffset to
// offset what is authenticated alone, from there on what is encrypted as well, and, where it is decrypted, its tag behind that.

const (
	nonceSize  = 13
	maxMessage = 0xffff
	maxAuth    = 0xfeff // longer ones have another encoding (A.2.2)
	authPrefix = 2      // their length, in front of them
)

// parameters are what a task sets by setAuthOffset and so on.
type parameters struct {
	authOffset, offset, tagSize uint32
	plain                       bool // nothing is encrypted but the tag
}

// ccmMessage is how far a message has come, beside the counter.
type ccmMessage struct {
	parameters // as they were when it was begun
	phase      phase
	end        uint64         // of the message in the source
	mac        hil.AESMessage // its chain is what the tag is of
}

// phase is what of a message is worked on next.
type phase uint8

const (
	first   phase = iota // the block that has nonce and lengths
	auth                 // what is authenticated alone
	message              // in two steps, if it is encrypted
	tag
)

// isCCM reports whether the message that was set up is one for CCM.
func (q *request) isCCM() bool { return q.ccm.mac.Mode == hil.AESMAC }

// takeCCM makes a message of the source, by the key and the nonce that q.message has, wait for its turn.
func (a *AES) takeCCM(q *request, task *kernel.TaskData) abi.ErrorCode {
	p, end := &q.parameters, task.ReadOnly(source).Len()
	tail := uint64(0)
	if q.message.Decrypt {
		tail = uint64(p.tagSize)
	}
	switch {
	case p.authOffset > p.offset || uint64(p.offset)+tail > end:
		return abi.INVAL
	case p.tagSize > hil.AESBlockSize || p.tagSize%2 != 0 || p.tagSize == 2:
		return abi.INVAL
	case end-tail-uint64(p.offset) > maxMessage || p.offset-p.authOffset > maxAuth:
		return abi.SIZE
	}
	m := &q.message
	m.Mode = hil.AESCTR
	copy(m.Chain[1:], m.Chain[:nonceSize])
	m.Chain[0], m.Chain[14], m.Chain[15] = 1, 0, 1 // the counter of the first block (A.3)
	q.ccm = ccmMessage{parameters: parameters{p.authOffset, p.offset, p.tagSize, p.plain}, end: end - tail}
	q.ccm.mac.Mode = hil.AESMAC
	copyBlock(q.ccm.mac.Key[:], m.Key[:])
	q.offset, q.ticket = 0, a.ticket()
	return abi.OK
}

// prepareCCM fills the piece with what is worked on next, and says how many bytes it is and with which message.
func (a *AES) prepareCCM(q *request, task *kernel.TaskData) (n int) {
	c := &q.ccm
	a.message = c.mac
	switch c.phase {
	case first:
		a.firstBlock(q)
		return hil.AESBlockSize
	case auth:
		return a.prepareAuth(q, task)
	case message:
		a.length = int(min(c.end-q.offset, pieceSize))
		a.read(task, a.piece[:a.length], q.offset)
		if q.message.Decrypt && !c.plain {
			a.message = q.message
			return a.length
		}
		return blocks(a.length)
	}
	copyBlock(a.piece[:], c.mac.Chain[:])
	a.message = q.message
	a.message.Chain[14], a.message.Chain[15] = 0, 0 // the counter for the tag
	return hil.AESBlockSize
}

// copyBlock copies byte by byte: at once, the compiler would take a register that is the tasks' (docs/HACKING.md).
func copyBlock(to, from []byte) {
	//lint:ignore S1001 copy would be what is to be avoided
	for i := range from {
		to[i] = from[i]
	}
}

// read fills a part of the piece from the source, and the rest of the piece with zeros, as well as what the source does not have any more.
func (a *AES) read(task *kernel.TaskData, part []byte, offset uint64) {
	clear(a.piece[:])
	task.ReadOnly(source).ReadAt(part, offset)
}

// blocks is the size of whole blocks that have n bytes.
func blocks(n int) int { return (n + hil.AESBlockSize - 1) &^ (hil.AESBlockSize - 1) }

// firstBlock fills in the block B0 (A.2.1).
func (a *AES) firstBlock(q *request) {
	c := &q.ccm
	flags := byte(1) // lengths of two bytes
	if c.offset != c.authOffset {
		flags |= 1 << 6
	}
	if c.tagSize != 0 {
		flags |= byte(c.tagSize-2) / 2 << 3
	}
	length := c.end - uint64(c.offset)
	copy(a.piece[:], q.message.Chain[:1+nonceSize])
	a.piece[0], a.piece[14], a.piece[15] = flags, byte(length>>8), byte(length)
}

// prepareAuth fills the piece with what is authenticated alone: their length in front of the first bytes (A.2.2).
func (a *AES) prepareAuth(q *request, task *kernel.TaskData) (n int) {
	c := &q.ccm
	prefix := 0
	if q.offset == uint64(c.authOffset) {
		prefix = authPrefix
	}
	a.length = int(min(uint64(c.offset)-q.offset, uint64(pieceSize-prefix)))
	a.read(task, a.piece[prefix:prefix+a.length], q.offset)
	if prefix != 0 {
		length := c.offset - c.authOffset
		a.piece[0], a.piece[1] = byte(length>>8), byte(length)
	}
	return blocks(prefix + a.length)
}

// goOnCCM goes on behind a piece of work.
func (a *AES) goOnCCM(q *request, task *kernel.TaskData) {
	c := &q.ccm
	if c.phase == tag {
		a.endCCM(q, task)
		return
	}
	if a.message.Mode == hil.AESMAC {
		c.mac = a.message
	} else {
		q.message = a.message
	}
	switch c.phase {
	case first:
		q.offset = uint64(c.authOffset)
	case auth:
		q.offset += uint64(a.length)
	case message:
		if !c.plain && !a.second {
			a.startSecond(q, task)
			return
		}
		a.deliver(q, task)
	}
	q.ticket = a.ticket()
	switch {
	case q.offset < uint64(c.offset):
		c.phase = auth
	case q.offset < c.end:
		c.phase = message
	default:
		c.phase = tag
	}
}

// startSecond does the other step for a piece: it is authenticated in front of its encryption, and behind its decryption.
func (a *AES) startSecond(q *request, task *kernel.TaskData) {
	a.second = true
	a.message = q.message
	n := a.length
	if q.message.Decrypt {
		a.message = q.ccm.mac
		n = blocks(n)
	}
	a.start(q, task, n)
}

// endCCM ends a message with its tag, which is at the start of the piece: it is put behind the message, or compared with what is there.
func (a *AES) endCCM(q *request, task *kernel.TaskData) {
	c := &q.ccm
	made := a.piece[:c.tagSize]
	right := uint32(1)
	if !q.message.Decrypt {
		task.ReadWrite(destination).WriteAt(made, c.end)
	} else {
		q.offset += uint64(c.tagSize)
		var got [hil.AESBlockSize]byte
		n := task.ReadOnly(source).ReadAt(got[:c.tagSize], c.end)
		if n != len(made) || !equal(made, got[:n]) {
			right = 0
		}
	}
	a.end(q, task, abi.OK, right)
}

// equal compares bytes, as many of both, in a time that does not tell where they differ.
func equal(x, y []byte) bool {
	different := byte(0)
	for i := range x {
		different |= x[i] ^ y[i]
	}
	return different == 0
}
