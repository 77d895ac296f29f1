// Package stream is what tests send through block devices and networks: bytes that both ends can make, so that
// each is compared with what it should be.
package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// Fill makes the bytes of a stream from an offset on, both multiples of 8. Streams of other seeds are others.
func Fill(b []byte, seed, offset uint64) {
	const gamma = 0x9e37_79b9_7f4a_7c15 // of splitmix64
	for i := 0; i < len(b); i += 8 {
		x := (seed + offset + uint64(i) + 1) * gamma
		x = (x ^ x>>32) * 0xd6e8_feb8_6659_fd93
		binary.LittleEndian.PutUint64(b[i:], x^x>>32)
	}
}

// Check compares bytes with a stream's and names the first that differs.
func Check(got []byte, seed, offset uint64) error {
	want := make([]byte, len(got))
	Fill(want, seed, offset)
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("byte %d is %#02x, want %#02x", offset+uint64(i), got[i], want[i])
		}
	}
	return nil
}

// What a connection does, which its first byte says: the side that connects sends size bytes, or takes them.
const (
	Upload   = 'u'
	Download = 'd'

	headerSize = 17 // kind, size, seed
	blockSize  = 64 << 10
)

// Connect carries out one transfer of size bytes, a multiple of 8, over a connection that Serve has at its other
// end, and returns when the other end has said that all of them were right, or they were.
func Connect(c net.Conn, kind byte, size, seed uint64) error {
	header := append([]byte{kind}, make([]byte, headerSize-1)...)
	binary.LittleEndian.PutUint64(header[1:], size)
	binary.LittleEndian.PutUint64(header[9:], seed)
	if _, err := c.Write(header); err != nil {
		return err
	}
	if kind == Download {
		return receive(c, size, seed)
	}
	if err := send(c, size, seed); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err == nil && string(answer) != "ok" {
		err = fmt.Errorf("the other end found: %q", answer)
	}
	return err
}

// Serve answers one connection and closes it.
func Serve(c net.Conn) error {
	defer c.Close()
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(c, header); err != nil {
		return err
	}
	size, seed := binary.LittleEndian.Uint64(header[1:]), binary.LittleEndian.Uint64(header[9:])
	if header[0] == Download {
		return send(c, size, seed)
	}
	if err := receive(c, size, seed); err != nil {
		fmt.Fprint(c, err)
		return err
	}
	_, err := c.Write([]byte("ok"))
	return err
}

func send(w io.Writer, size, seed uint64) error {
	block := make([]byte, blockSize)
	for at := uint64(0); at < size; at += blockSize {
		b := block[:min(blockSize, size-at)]
		Fill(b, seed, at)
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("sending byte %d on: %w", at, err)
		}
	}
	return nil
}

func receive(r io.Reader, size, seed uint64) error {
	block := make([]byte, blockSize)
	for at := uint64(0); at < size; at += blockSize {
		b := block[:min(blockSize, size-at)]
		if _, err := io.ReadFull(r, b); err != nil {
			return fmt.Errorf("receiving byte %d on: %w", at, err)
		}
		if err := Check(b, seed, at); err != nil {
			return err
		}
	}
	return nil
}
