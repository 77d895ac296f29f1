package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"kapsel/guest/abi"
)

// Client asks a machine whose monitor listens at a control socket.
type Client struct {
	conn     net.Conn
	stop     func() bool
	patience time.Duration
}

// answerTime is how long an answer is waited for: longer than another client may hold the server.
const answerTime = 3 * patience

// Task is a task of the machine.
type Task struct {
	PID, ShortID, Restarts uint32
	State                  string // as Tock calls it
	Name                   string // of a long one its first 64 bytes
}

var states = [...]string{"Running", "Yielded", "YieldedFor", "Stopped", "Faulted", "Terminated"}

// Connect connects to a socket. The client is good until ctx ends.
func Connect(ctx context.Context, path string) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return &Client{conn, context.AfterFunc(ctx, func() { conn.Close() }), answerTime}, nil
}

// Close ends the connection. What was not loaded by then is given up.
func (c *Client) Close() error {
	c.stop()
	return c.conn.Close()
}

// Load loads a task from an object, and returns its PID.
func (c *Client) Load(object []byte) (pid uint32, err error) {
	if _, err := c.ask(abi.LoadSetUp, binary.LittleEndian.AppendUint32(nil, uint32(len(object)))); err != nil {
		return 0, c.explain(err, map[abi.ErrorCode]string{
			abi.NOMEM: "the machine has no memory for the object", abi.INVAL: "no task object has that size", abi.BUSY: "another one is being loaded"})
	}
	const piece = abi.LoadPayload - 4
	for at := 0; at < len(object); at += piece {
		payload := binary.LittleEndian.AppendUint32(nil, uint32(at))
		if _, err := c.ask(abi.LoadWrite, append(payload, object[at:min(at+piece, len(object))]...)); err != nil {
			return 0, c.explain(err, map[abi.ErrorCode]string{abi.INVAL: "its header does not tell its length"})
		}
	}
	answer, err := c.ask(abi.LoadLoad, nil)
	switch {
	case err != nil:
		return 0, c.explain(err, map[abi.ErrorCode]string{
			abi.NOMEM: "the machine has not enough memory for the task", abi.FAIL: "the kernel refuses it: the machine's console says why"})
	case len(answer) != 4:
		return 0, errFrame
	}
	return binary.LittleEndian.Uint32(answer), nil
}

// Unload unloads the task of a name, or with a PID in decimal.
func (c *Client) Unload(name string) error {
	if len(name) > abi.LoadPayload {
		return fmt.Errorf("a name of %d bytes: want at most %d", len(name), abi.LoadPayload)
	}
	_, err := c.ask(abi.LoadUnload, []byte(name))
	return c.explain(err, map[abi.ErrorCode]string{
		abi.NODEVICE: "there is no task of that name, nor with that PID", abi.FAIL: "several tasks have that name: say which by its PID"})
}

// Tasks are the machine's tasks.
func (c *Client) Tasks() ([]Task, error) {
	var tasks []Task
	err := c.each(abi.LoadTasks, nil, func(row []byte) error {
		if len(row) == 0 {
			return nil
		}
		if len(row) < abi.LoadRow || int(row[12]) >= len(states) {
			return errFrame
		}
		tasks = append(tasks, Task{binary.LittleEndian.Uint32(row), binary.LittleEndian.Uint32(row[4:]), binary.LittleEndian.Uint32(row[8:]),
			states[row[12]], string(row[abi.LoadRow:])})
		return nil
	})
	return tasks, err
}

// ask asks, and returns what is answered behind the status.
func (c *Client) ask(kind byte, payload []byte) (answer []byte, err error) {
	err = c.each(kind, payload, func(more []byte) error {
		answer = more
		return nil
	})
	return answer, err
}

// each asks, and calls f with each part of the answer, behind its status. A status that is an error is returned.
func (c *Client) each(kind byte, payload []byte, f func([]byte) error) error {
	c.conn.SetDeadline(time.Now().Add(c.patience))
	if err := (frame{kind, payload}).write(c.conn); err != nil {
		return gone(err)
	}
	return gone(answered(func() (frame, error) { return readFrame(c.conn) }, kind, func(a frame) error {
		if status := abi.ErrorCode(a.payload[0]); status != abi.OK {
			return status
		}
		return f(a.payload[1:])
	}))
}

// gone says of an error that the other side is gone, if so, or silent.
func gone(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the machine does not answer: its kernel takes no tasks from its host, or another client holds it")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return errors.New("the machine has ended, or its kernel takes no tasks from its host")
	}
	return err
}

// explain says in words what a status means.
func (c *Client) explain(err error, words map[abi.ErrorCode]string) error {
	var status abi.ErrorCode
	if errors.As(err, &status) && words[status] != "" {
		return fmt.Errorf("%s (%w)", words[status], err)
	}
	return err
}
