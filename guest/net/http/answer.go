package http

import "kapsel/guest/kernel/format"

// A Status is the code of an answer (RFC 9110, 15). Zero is none.
type Status uint16

// The codes that are used here, and those that a Handler may need.
const (
	OK                   Status = 200
	BadRequest           Status = 400
	NotFound             Status = 404
	MethodNotAllowed     Status = 405
	RequestTimeout       Status = 408
	ContentTooLarge      Status = 413
	URITooLong           Status = 414
	ExpectationFailed    Status = 417
	HeaderFieldsTooLarge Status = 431
	InternalServerError  Status = 500
	NotImplemented       Status = 501
	ServiceUnavailable   Status = 503
	VersionNotSupported  Status = 505
)

// String is the reason phrase.
func (s Status) String() string {
	switch s {
	case OK:
		return "OK"
	case BadRequest:
		return "Bad Request"
	case NotFound:
		return "Not Found"
	case MethodNotAllowed:
		return "Method Not Allowed"
	case RequestTimeout:
		return "Request Timeout"
	case ContentTooLarge:
		return "Content Too Large"
	case URITooLong:
		return "URI Too Long"
	case ExpectationFailed:
		return "Expectation Failed"
	case HeaderFieldsTooLarge:
		return "Request Header Fields Too Large"
	case InternalServerError:
		return "Internal Server Error"
	case NotImplemented:
		return "Not Implemented"
	case ServiceUnavailable:
		return "Service Unavailable"
	case VersionNotSupported:
		return "HTTP Version Not Supported"
	default:
		return "Unknown"
	}
}

// An Answer is what a Handler says to a request: at first OK, and nothing.
type Answer struct {
	Status Status
	Type   string // of the content, at first "text/html; charset=utf-8"; of at most 64 bytes
	Text   Text   // the body, made in the session's own memory
	Body   []byte // or, if not nil, this: it has to stay as it is until the session's next request or end
}

// maxType is how long the type of content can be.
const maxType = 64

func (a *Answer) init(page []byte) {
	*a = Answer{Status: OK, Type: "text/html; charset=utf-8"}
	a.Text.Init(page)
}

// A Text is made in an array of fixed size; what has no room is left out, and Full says so. It is a format.Writer.
type Text struct {
	b    []byte
	n    int
	full bool
}

// Init makes it empty, in memory that is brought along.
func (t *Text) Init(b []byte) { *t = Text{b: b} }

// WriteString implements format.Writer.
func (t *Text) WriteString(s string) {
	n := copy(t.b[t.n:], s)
	t.n += n
	t.full = t.full || n < len(s)
}

// WriteChars implements format.Writer.
func (t *Text) WriteChars(chars uint64, n int) {
	for ; n > 0; n-- {
		if t.n == len(t.b) {
			t.full = true
			return
		}
		t.b[t.n] = byte(chars)
		t.n++
		chars >>= 8
	}
}

// Reset makes it empty.
func (t *Text) Reset() { t.n, t.full = 0, false }

// Bytes is what was written.
func (t *Text) Bytes() []byte { return t.b[:t.n] }

// Full reports whether something was left out.
func (t *Text) Full() bool { return t.full }

// maxAnswerHead is how long the head of an answer can be.
const maxAnswerHead = 256

// head writes the first lines of an answer, up to the empty one (RFC 9112, 4 and 5).
func (a *Answer) head(t *Text, last bool) {
	format.Print(t, "HTTP/1.1 %d ", uint64(a.Status))
	t.WriteString(a.Status.String())
	format.Print(t, "\r\nContent-Length: %d\r\n", uint64(len(a.Body)))
	t.WriteString("Content-Type: ")
	t.WriteString(a.Type)
	t.WriteString("\r\n")
	if a.Status == MethodNotAllowed {
		t.WriteString("Allow: GET, HEAD\r\n")
	}
	if last {
		t.WriteString("Connection: close\r\n")
	}
	t.WriteString("\r\n")
}
