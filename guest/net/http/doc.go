// Package http is HTTP/1.1 for a server in a task (RFC 9110 and 9112): requests without a meaning for bodies, GET and HEAD,
// and answers. It is strict: what two readers could understand in two ways is refused, and ends the connection.
//
// A Parser reads heads of requests where they lie, and copies nothing. A Session is the server's side of a connection: it
// reads requests, has a Handler answer them in turn, and decides when the connection ends. Nothing here allocates, makes
// system calls or reads a clock, so all of it runs in a task and under go test.
//
// What there is not: trailers and chunked bodies (a request with Transfer-Encoding is refused), 100 Continue (417), ranges,
// conditions, upgrades, and the answer's Date, which a server without a clock has to leave out (RFC 9110, 6.6.1).
package http
