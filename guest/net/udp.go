package net

// A Socket is one of UDP. Datagrams that wait, in and out, lie in its two buffers.
type Socket struct{ port uint16 }

// MakeSockets makes n sockets, with size bytes of buffer in each direction. A datagram takes 8 bytes more than its data.
func MakeSockets(n, size int) []Socket { return make([]Socket, n) }

// Open opens a UDP socket at a port; 0 means any free one. The error is ErrPortInUse or ErrNoSocket.
func (s *Stack) Open(port uint16) (*Socket, error) { return nil, ErrNoSocket }

// Port returns the port of the socket.
func (k *Socket) Port() uint16 { return k.port }

// SendTo sends a datagram, when Output comes to it. The error is ErrClosed, ErrNoAddress, ErrNoRoute, ErrTooLong or ErrFull.
func (k *Socket) SendTo(data []byte, to Endpoint) error { return nil }

// ReceiveFrom copies the datagram that came first to buf. ok is false if there is none. The error is ErrTruncated, or
// ErrUnreachable: nothing came, but an answer that what was sent to that endpoint did not arrive; or ErrClosed.
func (k *Socket) ReceiveFrom(buf []byte) (n int, from Endpoint, ok bool, err error) {
	return 0, Endpoint{}, false, nil
}

// Close closes the socket. What waits in it is lost.
func (k *Socket) Close() {}
