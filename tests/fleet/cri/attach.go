package main

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"golang.org/x/net/websocket"
)

// protocol is the kubelet's for streams over a WebSocket (k8s.io/kubelet/pkg/cri/streaming/remotecommand/websocket.go): each message begins with the number
// of its stream.
const protocol = "v4.channel.k8s.io"

// Streams of a container.
const (
	streamIn = iota
	streamOut
	streamErr
	streamFailure // how the streams ended, in JSON
)

// attach copies in to the container at the URL, and what comes from it to out and err, until the container ends.
func attach(ctx context.Context, address string, in io.Reader, out, err io.Writer) error {
	u, failure := url.Parse(address)
	if failure != nil {
		return failure
	}
	u.Scheme = "ws"
	config, failure := websocket.NewConfig(u.String(), "http://localhost")
	if failure != nil {
		return failure
	}
	config.Protocol = []string{protocol}
	conn, failure := config.DialContext(ctx)
	if failure != nil {
		return fmt.Errorf("attach at %s: %w", address, failure)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if failure := conn.SetDeadline(deadline); failure != nil {
			return failure
		}
	}
	go send(conn, in)
	return receive(conn, out, err)
}

// send copies in to the container's standard input. The protocol has no way to say that it ends.
func send(conn *websocket.Conn, in io.Reader) {
	buffer := make([]byte, 4096)
	for {
		n, err := in.Read(buffer[1:])
		if n > 0 {
			buffer[0] = streamIn
			if websocket.Message.Send(conn, buffer[:1+n]) != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// receive copies what comes to out and err until the other side closes the streams.
func receive(conn *websocket.Conn, out, err io.Writer) error {
	for {
		var message []byte
		if failure := websocket.Message.Receive(conn, &message); failure == io.EOF {
			return nil
		} else if failure != nil {
			return failure
		}
		if len(message) == 0 {
			continue
		}
		to := out
		switch message[0] {
		case streamErr:
			to = err
		case streamFailure:
			continue
		}
		if _, failure := to.Write(message[1:]); failure != nil {
			return failure
		}
	}
}
