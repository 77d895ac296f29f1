package http

// What a request may have at the most.
const (
	MaxRequestLine = 1024    // bytes of the first line, with its end
	MaxField       = 2048    // bytes of a field's line, with its end
	MaxHead        = 4096    // bytes of the whole head
	MaxFields      = 64      // lines with fields
	MaxBody        = 1 << 20 // bytes behind the head, which are skipped
)

// A Request is the head of one. Its slices lie in what was parsed.
type Request struct {
	Head   bool   // the method is HEAD, else GET
	Path   []byte // as it was sent: it begins with a slash, and is percent-encoded
	Query  []byte // what came behind the question mark
	Host   []byte // and port, as it was sent; empty if HTTP/1.0 has none
	Minor  uint8  // of the version: 1.0 or 1.1
	Close  bool   // the client wants no further answer on this connection
	Length uint32 // bytes of the body
}

// A Parser reads the head of one request; the zero value begins.
type Parser struct {
	Request Request // once all of it was read

	at      int // where the line begins that comes next
	scanned int // up to where no end of it was found
	lines   int // with content, so far
	host    bool
	length  bool
	coding  bool
}

// Parse goes on reading. b has what came of the request so far, from its first byte on, at the same place each time. It
// returns how many bytes the head has, once all of it is there; or why the request is refused, and then the connection is of
// no further use; or zeroes if more has to come. How a head was cut into pieces changes nothing.
func (p *Parser) Parse(b []byte) (head int, refused Status) {
	for {
		n := p.scanned + index(b[p.scanned:], '\n')
		if refused = p.tooLong(n + 1 - p.at); refused != 0 {
			return 0, refused
		}
		if n == len(b) {
			p.scanned = n
			return 0, 0
		}
		line := b[p.at : n+1]
		p.at, p.scanned = n+1, n+1
		if len(line) < 2 || line[len(line)-2] != '\r' {
			return 0, BadRequest // a line ends with CR and LF (RFC 9112, 2.2: LF alone may be taken, but hides requests)
		}
		line = line[:len(line)-2]
		switch {
		case len(line) > 0 && p.lines == 0:
			refused = p.requestLine(line)
		case len(line) > 0:
			refused = p.field(line)
		case p.lines > 0:
			if refused = p.end(); refused == 0 {
				return p.at, 0
			}
		default:
			continue // empty lines in front (RFC 9112, 2.2)
		}
		if refused != 0 {
			return 0, refused
		}
		p.lines++
	}
}

// tooLong refuses a line that has n bytes at the least.
func (p *Parser) tooLong(n int) Status {
	switch {
	case p.lines == 0 && n > MaxRequestLine:
		return URITooLong
	case n > MaxField, p.at+n > MaxHead:
		return HeaderFieldsTooLarge
	}
	return 0
}

// requestLine reads a method, a target and a version, with one space between (RFC 9112, 3).
func (p *Parser) requestLine(line []byte) Status {
	r := &p.Request
	n := index(line, ' ')
	method, rest := line[:n], line[min(n+1, len(line)):]
	n = index(rest, ' ')
	where, version := rest[:n], rest[min(n+1, len(rest)):]
	switch {
	case len(method) == 0 || !all(method, token):
		return BadRequest
	case len(version) != len("HTTP/1.1") || string(version[:5]) != "HTTP/" || version[6] != '.' ||
		classes[version[5]]&classes[version[7]]&digit == 0:
		return BadRequest
	case version[5] != '1':
		return VersionNotSupported
	}
	r.Minor = min(version[7]-'0', 1) // a later one is read like 1.1 (RFC 9110, 2.5)
	switch string(method) {
	case "GET":
	case "HEAD":
		r.Head = true
	case "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return MethodNotAllowed
	default:
		return NotImplemented
	}
	return p.target(where)
}

// target reads the origin form, /path?query, or the absolute form, http://host/path?query (RFC 9112, 3.2).
func (p *Parser) target(b []byte) Status {
	r := &p.Request
	const scheme = "http://"
	if len(b) > len(scheme) && is(b[:len(scheme)], scheme) {
		b = b[len(scheme):]
		n := min(index(b, '/'), index(b, '?'))
		r.Host, b = b[:n], b[n:]
		if n == 0 || !isHost(r.Host) {
			return BadRequest
		}
		if len(b) == 0 || b[0] == '?' {
			r.Path = root[:]
		}
	}
	n := index(b, '?')
	if n > 0 {
		r.Path = b[:n]
	}
	r.Query = b[min(n+1, len(b)):]
	if len(r.Path) == 0 || r.Path[0] != '/' || !isTarget(r.Path, false) || !isTarget(r.Query, true) {
		return BadRequest
	}
	return 0
}

// root is the path of an absolute form without one.
var root = [1]byte{'/'}

// field reads a name, a colon and a value (RFC 9112, 5). A name that is not a token refuses spaces in front of the colon, and lines
// that go on in the next one (obs-fold), for they begin with a space.
func (p *Parser) field(line []byte) Status {
	if p.lines > MaxFields {
		return HeaderFieldsTooLarge
	}
	n := index(line, ':')
	name := line[:n]
	if n == 0 || n == len(line) || !all(name, token) || !all(line[n+1:], text) {
		return BadRequest
	}
	r, value := &p.Request, trim(line[n+1:])
	switch {
	case is(name, "host"):
		if p.host || !isHost(value) {
			return BadRequest
		}
		p.host = true
		if r.Host == nil { // that of an absolute form stands above it (RFC 9112, 3.2.2)
			r.Host = value
		}
	case is(name, "content-length"):
		if p.length || len(value) == 0 || !all(value, digit) {
			return BadRequest
		}
		p.length = true
		return p.body(value)
	case is(name, "transfer-encoding"):
		p.coding = true
	case is(name, "connection"):
		r.Close = r.Close || lists(value, "close")
	case is(name, "expect"):
		return ExpectationFailed // a client then asks again without it (RFC 9110, 10.1.1)
	}
	return 0
}

// body reads the length of the body, in digits.
func (p *Parser) body(digits []byte) Status {
	for _, d := range digits {
		p.Request.Length = 10*p.Request.Length + uint32(d-'0')
		if p.Request.Length > MaxBody {
			return ContentTooLarge
		}
	}
	return 0
}

// end decides what the fields have to say together.
func (p *Parser) end() Status {
	switch {
	case p.coding && (p.length || p.Request.Minor == 0), !p.host && p.Request.Minor > 0:
		return BadRequest
	case p.coding:
		return NotImplemented
	}
	p.Request.Close = p.Request.Close || p.Request.Minor == 0
	return 0
}
