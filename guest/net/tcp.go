package net

// A Conn is a connection of TCP, in the pool of a Stack: package tcp's, with addresses.
type Conn struct{ remote Endpoint }

// A Listener accepts connections to a port.
type Listener struct{ port uint16 }

// MakeConns makes n connections, with buffers of so many bytes: powers of two.
func MakeConns(n, send, receive int) []Conn { return make([]Conn, n) }

// Listen accepts connections to a port: Accept returns them. The error is ErrPortInUse or ErrNoSocket.
func (s *Stack) Listen(port uint16) (*Listener, error) { return nil, ErrNoSocket }

// Accept returns a connection that a peer has made to the port, or nil. It is the caller's until Close or Abort.
func (l *Listener) Accept() *Conn { return nil }

// Close ends listening. Connections that were not accepted are aborted.
func (l *Listener) Close() {}

// Dial begins a connection, which is there when its State is Established. It is the caller's until Close or Abort. The
// error is ErrNoAddress, ErrNoRoute or ErrNoSocket.
func (s *Stack) Dial(to Endpoint, now Time) (*Conn, error) { return nil, ErrNoSocket }

// Read reads what has come: 0 bytes and no error if there is nothing yet, an error of package tcp at the end.
func (c *Conn) Read(p []byte) (int, error) { return 0, nil }

// Write takes as much as there is room for, and returns how much.
func (c *Conn) Write(p []byte) (int, error) { return 0, nil }

// Close sends what was written, and the end. The connection is the stack's again: do not use it afterwards.
func (c *Conn) Close() {}

// Abort resets the connection. It is the stack's again: do not use it afterwards.
func (c *Conn) Abort() {}

// Readable returns how many bytes Read would give; Writable how many Write would take.
func (c *Conn) Readable() int { return 0 }

// Writable returns how many bytes Write would take.
func (c *Conn) Writable() int { return 0 }

// Remote returns the peer.
func (c *Conn) Remote() Endpoint { return c.remote }
