// Package aes computes AES-128 as FIPS 197 defines it, in a time that depends neither on the key nor on the data: it has no tables, and
// works on the bits of four blocks at once. It serves ring 0: it needs no memory of its own and no vector registers.
package aes

// BlockSize is the size of a block in bytes, KeySize that of a key.
const (
	BlockSize = 16
	KeySize   = 16
)

// Parallel is how many blocks are worked on at once: fewer take as long.
const Parallel = 4

const rounds = 10

// planes are the bits of four blocks: word b has bit b of each byte. The bits of byte i of block j, which is row i%4 of column i/4
// (FIPS 197, 3.4), are at 4*i + j, so that a column is 16 bits of a word, and a row of it four.
type planes [8]uint64

// A Cipher is a key's schedule. Its zero value has the schedule of no key.
type Cipher struct {
	keys [rounds + 1]planes
}

// SetKey makes the schedule of a key of KeySize bytes (section 5.2).
func (c *Cipher) SetKey(key []byte) {
	var blocks [Parallel * BlockSize]byte
	for j := range Parallel {
		copy(blocks[j*BlockSize:], key[:KeySize])
	}
	c.keys[0].load(blocks[:])
	constant := byte(1)
	for r := 1; r <= rounds; r++ {
		c.keys[r].expand(&c.keys[r-1], constant)
		constant = constant<<1 ^ constant>>7*0x1b
	}
}

// Clear forgets the key.
func (c *Cipher) Clear() {
	for r := range c.keys {
		clear(c.keys[r][:])
	}
}

// expand makes a round's key of that of the round before. Its first column is the sum of that one's, of that one's last, rotated and
// substituted, and of the round's constant; each other one the sum of that one's and of the column before.
func (p *planes) expand(before *planes, constant byte) {
	last := *before
	last.substitute()
	for b := range p {
		column := below(last[b]) >> 48
		column ^= uint64(constant) >> b & 1 * 0xf // in the first row
		sum := before[b] ^ column
		sum ^= sum << 16
		p[b] = sum ^ sum<<32
	}
}

// Encrypt encrypts Parallel blocks in place (section 5.1).
func (c *Cipher) Encrypt(blocks []byte) {
	var p planes
	p.load(blocks)
	p.add(&c.keys[0])
	for r := 1; r < rounds; r++ {
		p.substitute()
		p.shiftRows(1)
		p.mixColumns()
		p.add(&c.keys[r])
	}
	p.substitute()
	p.shiftRows(1)
	p.add(&c.keys[rounds])
	p.store(blocks)
}

// Decrypt decrypts Parallel blocks in place (section 5.3).
func (c *Cipher) Decrypt(blocks []byte) {
	var p planes
	p.load(blocks)
	p.add(&c.keys[rounds])
	for r := rounds - 1; r > 0; r-- {
		p.shiftRows(3)
		p.substituteBack()
		p.add(&c.keys[r])
		p.mixColumnsBack()
	}
	p.shiftRows(3)
	p.substituteBack()
	p.add(&c.keys[0])
	p.store(blocks)
}

// load takes the bits of Parallel blocks.
func (p *planes) load(blocks []byte) {
	from := (*[Parallel * BlockSize]byte)(blocks)
	clear(p[:])
	for i := 0; i < BlockSize; i += 2 {
		var bytes uint64
		for n := range uint(8) {
			bytes |= uint64(from[place(i, n)]) << (8 * n)
		}
		bytes = transpose(bytes)
		for b := range p {
			p[b] |= bytes >> (8 * b) & 0xff << (4 * i)
		}
	}
}

// store puts the bits back.
func (p *planes) store(blocks []byte) {
	to := (*[Parallel * BlockSize]byte)(blocks)
	for i := 0; i < BlockSize; i += 2 {
		var bits uint64
		for b := range p {
			bits |= p[b] >> (4 * i) & 0xff << (8 * b)
		}
		bits = transpose(bits)
		for n := range uint(8) {
			to[place(i, n)] = byte(bits >> (8 * n))
		}
	}
}

// place is where in the blocks the byte is whose bits are the n-th behind those of byte i of the first.
func place(i int, n uint) uint {
	return (n%Parallel*BlockSize + uint(i) + n/Parallel) % (Parallel * BlockSize)
}

// transpose makes rows of the columns of a matrix of bits, a row a byte.
func transpose(x uint64) uint64 {
	t := (x ^ x>>7) & 0x00aa_00aa_00aa_00aa
	x ^= t ^ t<<7
	t = (x ^ x>>14) & 0x0000_cccc_0000_cccc
	x ^= t ^ t<<14
	t = (x ^ x>>28) & 0x0000_0000_f0f0_f0f0
	return x ^ t ^ t<<28
}

// add is AddRoundKey (section 5.1.4).
func (p *planes) add(key *planes) {
	for b := range p {
		p[b] ^= key[b]
	}
}

// firstRow has the bits of the first row.
const firstRow = 0x000f_000f_000f_000f

// shiftRows is ShiftRows (section 5.1.2) so many times: three times is its inverse.
func (p *planes) shiftRows(times uint) {
	for b, x := range p {
		y := x & firstRow
		for row := uint(1); row < 4; row++ {
			part := x & (firstRow << (4 * row))
			by := 16 * (row * times % 4)
			y |= part>>by | part<<(64-by)
		}
		p[b] = y
	}
}

// below has in each row's place what is in the next row, and opposite what is in the one after that.
func below(x uint64) uint64 {
	return x>>4&0x0fff_0fff_0fff_0fff | x<<12&0xf000_f000_f000_f000
}

func opposite(x uint64) uint64 {
	return x>>8&0x00ff_00ff_00ff_00ff | x<<8&0xff00_ff00_ff00_ff00
}

// double multiplies each byte by x (section 4.2.1).
func (p *planes) double() {
	top := p[7]
	for b := 7; b > 0; b-- {
		p[b] = p[b-1]
	}
	p[0] = top
	p[1] ^= top
	p[3] ^= top
	p[4] ^= top
}

// mixColumns is MixColumns (section 5.1.3): a row is twice the sum of itself and the next, and the sum of the other three.
func (p *planes) mixColumns() {
	var twice planes
	for b, x := range p {
		twice[b] = x ^ below(x)
	}
	rest := twice
	twice.double()
	for b, x := range p {
		p[b] = twice[b] ^ below(x) ^ opposite(rest[b])
	}
}

// mixColumnsBack is InvMixColumns (section 5.3.3): MixColumns of rows to which four times the sum of themselves and those opposite was added.
func (p *planes) mixColumnsBack() {
	var four planes
	for b, x := range p {
		four[b] = x ^ opposite(x)
	}
	four.double()
	four.double()
	p.add(&four)
	p.mixColumns()
}
