package http_test

import (
	"bufio"
	"bytes"
	"fmt"
	stdhttp "net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/net/http"
)

// whole parses all of b at once.
func whole(b []byte) (p http.Parser, head int, refused http.Status) {
	head, refused = p.Parse(b)
	return p, head, refused
}

// inPieces parses b as it grows by so many bytes a time.
func inPieces(b []byte, size int) (p http.Parser, head int, refused http.Status) {
	for n := 0; ; n = min(n+size, len(b)) {
		head, refused = p.Parse(b[:n])
		if head != 0 || refused != 0 || n == len(b) {
			return p, head, refused
		}
	}
}

func TestRequestsThatAreTaken(t *testing.T) {
	for _, tt := range []struct {
		name, head string
		want       http.Request
	}{
		{"GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", request("/", "", "a")},
		{"HEAD", "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", change(request("/x", "", "a"), func(r *http.Request) { r.Head = true })},
		{"a query", "GET /a/b?c=d?e/%20 HTTP/1.1\r\nHost: a\r\n\r\n", request("/a/b", "c=d?e/%20", "a")},
		{"an encoded path", "GET /%2e%2E/ HTTP/1.1\r\nHost: a:80\r\n\r\n", request("/%2e%2E/", "", "a:80")},
		{"no spaces about a value", "GET / HTTP/1.1\r\nHost:a\r\n\r\n", request("/", "", "a")},
		{"spaces and tabs about a value", "GET / HTTP/1.1\r\nhOST: \t a \t\r\n\r\n", request("/", "", "a")},
		{"an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", request("/", "", "")},
		{"an address of IPv6", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", request("/", "", "[::1]:80")},
		{"absolute form", "GET http://b:8/x?y HTTP/1.1\r\nHost: a\r\n\r\n", request("/x", "y", "b:8")},
		{"absolute form without a path", "GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n", request("/", "", "b")},
		{"absolute form without a path, with a query", "GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n", request("/", "y", "b")},
		{"an empty line in front", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", request("/", "", "a")},
		{"Connection: close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE , cLOSE\r\n\r\n", closing(request("/", "", "a"))},
		{"Connection: closed is something else", "GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", request("/", "", "a")},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", change(closing(request("/", "", "")), func(r *http.Request) { r.Minor = 0; r.Host = nil })},
		{"HTTP/1.7", "GET / HTTP/1.7\r\nHost: a\r\n\r\n", request("/", "", "a")},
		{"a body", "GET / HTTP/1.1\r\nContent-Length: 0012\r\nHost: a\r\n\r\n", change(request("/", "", "a"), func(r *http.Request) { r.Length = 12 })},
		{"the longest body", "GET / HTTP/1.1\r\nContent-Length: 1048576\r\nHost: a\r\n\r\n", change(request("/", "", "a"), func(r *http.Request) { r.Length = http.MaxBody })},
		{"bytes of Latin-1 in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\xff\r\n\r\n", request("/", "", "a")},
		{"an empty value", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", request("/", "", "a")},
		{"as many fields as can be", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", http.MaxFields-1) + "\r\n", request("/", "", "a")},
		{"the longest request line", "GET /" + strings.Repeat("p", http.MaxRequestLine-len("GET / HTTP/1.1\r\n")) + " HTTP/1.1\r\nHost: a\r\n\r\n",
			request("/"+strings.Repeat("p", http.MaxRequestLine-len("GET / HTTP/1.1\r\n")), "", "a")},
		{"the longest head", longest(0), request("/", "", "a")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const next = "GET /next HTTP/1.1\r\n"
			for size := 1; size < len(tt.head)+2; size += 1 + len(tt.head)/50 {
				p, n, refused := inPieces([]byte(tt.head), size)
				assert.Equal(t, tt.want, p.Request, "in pieces of %d", size)
				assert.Equal(t, len(tt.head), n)
				assert.Zero(t, refused)
			}
			p, n, refused := whole([]byte(tt.head + next))
			assert.Equal(t, tt.want, p.Request, "with another behind it")
			assert.Equal(t, len(tt.head), n)
			assert.Zero(t, refused)
		})
	}
}

func request(path, query, host string) http.Request {
	return http.Request{Path: []byte(path), Query: []byte(query), Host: []byte(host), Minor: 1}
}

func change(r http.Request, f func(*http.Request)) http.Request {
	f(&r)
	return r
}

func closing(r http.Request) http.Request { r.Close = true; return r }

// longest is a head of MaxHead bytes and more.
func longest(more int) string {
	const begin, end = "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n"
	field := "X: " + strings.Repeat("y", http.MaxField-5) + "\r\n"
	rest := http.MaxHead + more - len(begin) - len(field) - len(end)
	return begin + field + "Z: " + strings.Repeat("z", rest-3) + end
}

// TestRequestsThatAreRefused has, among others, what smuggles requests past a reader that is not strict.
func TestRequestsThatAreRefused(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n"
	for _, tt := range []struct {
		name, head string
		want       http.Status
	}{
		{"two Content-Length", get + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", http.BadRequest},
		{"two Content-Length that agree", get + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", http.BadRequest},
		{"a list as Content-Length", get + "Content-Length: 1, 1\r\n\r\n", http.BadRequest},
		{"a signed Content-Length", get + "Content-Length: +1\r\n\r\n", http.BadRequest},
		{"a hexadecimal Content-Length", get + "Content-Length: 0x1\r\n\r\n", http.BadRequest},
		{"an empty Content-Length", get + "Content-Length:\r\n\r\n", http.BadRequest},
		{"a Content-Length that wraps 32 bits", get + "Content-Length: 4294967297\r\n\r\n", http.ContentTooLarge},
		{"a Content-Length that wraps 64 bits", get + "Content-Length: 18446744073709551617\r\n\r\n", http.ContentTooLarge},
		{"a body one too long", get + "Content-Length: 1048577\r\n\r\n", http.ContentTooLarge},
		{"Transfer-Encoding", get + "Transfer-Encoding: chunked\r\n\r\n", http.NotImplemented},
		{"Transfer-Encoding behind Content-Length", get + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", http.BadRequest},
		{"Content-Length behind Transfer-Encoding", get + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", http.BadRequest},
		{"Transfer-Encoding by HTTP/1.0", "GET / HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n", http.BadRequest},
		{"LF alone behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", http.BadRequest},
		{"LF alone behind a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", http.BadRequest},
		{"LF alone at the end", get + "\n", http.BadRequest},
		{"LF alone in front", "\nGET / HTTP/1.1\r\n", http.BadRequest},
		{"CR in a value", get + "X: a\rb\r\n\r\n", http.BadRequest},
		{"CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"two CR", get + "X: a\r\r\n\r\n", http.BadRequest},
		{"a folded line (obs-fold)", get + "X: a\r\n b\r\n\r\n", http.BadRequest},
		{"a folded line with a colon", get + "X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n", http.BadRequest},
		{"a space in front of the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", http.BadRequest},
		{"a space before the colon", get + "Content-Length : 1\r\n\r\n", http.BadRequest},
		{"a tab before the colon", get + "Content-Length\t: 1\r\n\r\n", http.BadRequest},
		{"NUL in a value", get + "X: a\x00b\r\n\r\n", http.BadRequest},
		{"NUL in a name", get + "X\x00: a\r\n\r\n", http.BadRequest},
		{"NUL in the path", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"DEL in a value", get + "X: \x7f\r\n\r\n", http.BadRequest},
		{"no name", get + ": a\r\n\r\n", http.BadRequest},
		{"no colon", get + "X\r\n\r\n", http.BadRequest},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", http.BadRequest},
		{"two Host", get + "Host: a\r\n\r\n", http.BadRequest},
		{"a path in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", http.BadRequest},
		{"a list as Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", http.BadRequest},
		{"a port that is no number", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", http.BadRequest},
		{"brackets that do not end", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", http.BadRequest},
		{"something behind brackets", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", http.BadRequest},
		{"absolute form without a host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"absolute form with a user", "GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"https in absolute form", "GET https://b/ HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"a space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", http.BadRequest},
		{"a tab between", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"no version (HTTP/0.9)", "GET /\r\n", http.BadRequest},
		{"a path without a slash", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"an asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"a fragment", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"half a percent encoding", "GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"a percent encoding across the question mark", "GET /%2?0 HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"a byte above ASCII in the path", "GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"http in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", http.BadRequest},
		{"a version with two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", http.BadRequest},
		{"a version of letters", "GET / HTTP/1.x\r\nHost: a\r\n\r\n", http.BadRequest},
		{"HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http.VersionNotSupported},
		{"HTTP/0.9 by name", "GET / HTTP/0.9\r\n\r\n", http.VersionNotSupported},
		{"TLS", "\x16\x03\x01\x02\x00\n", http.BadRequest},
		{"POST", "POST / HTTP/1.1\r\n", http.MethodNotAllowed},
		{"OPTIONS", "OPTIONS * HTTP/1.1\r\n", http.MethodNotAllowed},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\n", http.MethodNotAllowed},
		{"an unknown method", "BREW /coffee HTTP/1.1\r\n", http.NotImplemented},
		{"get in lower case", "get / HTTP/1.1\r\n", http.NotImplemented},
		{"a method that is no token", "G(T / HTTP/1.1\r\n", http.BadRequest},
		{"no method", " / HTTP/1.1\r\n", http.BadRequest},
		{"Expect", get + "Expect: 100-continue\r\n\r\n", http.ExpectationFailed},
		{"a request line one too long", "GET /" + strings.Repeat("p", http.MaxRequestLine-len("GET / HTTP/1.1\r\n")+1) + " HTTP/1.1\r\n", http.URITooLong},
		{"a request line without an end", strings.Repeat("A", http.MaxRequestLine), http.URITooLong},
		{"a field one too long", get + "X: " + strings.Repeat("y", http.MaxField-4) + "\r\n", http.HeaderFieldsTooLarge},
		{"a field without an end", get + strings.Repeat("y", http.MaxField), http.HeaderFieldsTooLarge},
		{"a head one too long", longest(1), http.HeaderFieldsTooLarge},
		{"a field too many", get + strings.Repeat("X: y\r\n", http.MaxFields) + "\r\n", http.HeaderFieldsTooLarge},
		{"nothing but empty lines", strings.Repeat("\r\n", http.MaxHead), http.HeaderFieldsTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for size := 1; size < len(tt.head)+2; size += 1 + len(tt.head)/50 {
				_, n, refused := inPieces([]byte(tt.head), size)
				assert.Equal(t, tt.want.String(), refused.String(), "in pieces of %d", size)
				assert.Zero(t, n)
			}
		})
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	b := []byte("GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n")
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if _, n, _ := whole(b); n == 0 {
			t.Fatal("refused")
		}
	}))
}

// FuzzParse holds a request in pieces against the whole one, and what is taken against net/http: that has to take it too, and see
// the same in it. It takes more than we do.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /a?b HTTP/1.0\r\n\r\n", "\r\nGET http://a/b HTTP/1.1\r\nHost: c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: x, close\r\n\r\nabc", "GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
		"POST / HTTP/1.1\r\nHost : a\r\n\r\n", "GET http://[::1]:80?x HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		p, n, refused := whole(b)
		q, m, refusedInPieces := inPieces(b, 1+int(size))
		assert.Equal(t, refused, refusedInPieces)
		assert.Equal(t, n, m)
		if n == 0 {
			return
		}
		assert.Equal(t, p.Request, q.Request)
		assert.LessOrEqual(t, n, http.MaxHead)
		assert.True(t, bytes.HasSuffix(b[:n], []byte("\r\n\r\n")))
		if err := asNetHTTP(&p.Request, b[:n]); err != nil {
			t.Errorf("%q: %v", b[:n], err)
		}
	})
}

// asNetHTTP compares a request with what net/http finds in the same bytes, but for empty lines in front, which that refuses.
func asNetHTTP(r *http.Request, head []byte) error {
	reader := bytes.NewReader(bytes.TrimLeft(head, "\r\n"))
	if bytes.Contains(r.Host, []byte("[")) {
		return nil // what is between brackets net/http looks at further, in an absolute form
	}
	want, err := stdhttp.ReadRequest(bufio.NewReader(reader))
	if err != nil {
		return err
	}
	method := map[bool]string{false: "GET", true: "HEAD"}[r.Head]
	path := want.URL.EscapedPath()
	if want.URL.RawPath == "" && want.URL.Path == "" {
		path = "/"
	}
	for _, c := range []struct {
		what      string
		want, got any
	}{
		{"bytes behind it", 0, reader.Len()},
		{"method", want.Method, method},
		{"path", path, string(r.Path)},
		{"query", want.URL.RawQuery, string(r.Query)},
		{"host", want.Host, string(r.Host)},
		{"length", want.ContentLength, int64(r.Length)},
		{"close", want.Close || !want.ProtoAtLeast(1, 1), r.Close},
		{"codings", 0, len(want.TransferEncoding)},
	} {
		if c.want != c.got {
			return fmt.Errorf("%s is %q, want %q", c.what, c.got, c.want)
		}
	}
	return nil
}
