package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
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
	State                  string // as Tock calls it, or Paused
	Name                   string // of a long one its first 64 bytes
}

var states = [...]string{"Running", "Yielded", "YieldedFor", "Stopped", "Faulted", "Terminated", abi.LoadPaused: "Paused"}

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
	if err := c.write(object); err != nil {
		return 0, err
	}
	pid, err = c.askPID(abi.LoadLoad, nil)
	return pid, c.explain(err, map[abi.ErrorCode]string{
		abi.NOMEM: "the machine has not enough memory for the task", abi.FAIL: "the kernel refuses it: the machine's console says why"})
}

// write sets up an object, or the state of a task.
func (c *Client) write(object []byte) error {
	if _, err := c.ask(abi.LoadSetUp, binary.LittleEndian.AppendUint32(nil, uint32(len(object)))); err != nil {
		return c.explain(err, map[abi.ErrorCode]string{
			abi.NOMEM: "the machine has no memory for it", abi.INVAL: "neither a task object nor a task's state has that size", abi.BUSY: "another one is being loaded"})
	}
	const piece = abi.LoadPayload - 4
	for at := 0; at < len(object); at += piece {
		payload := binary.LittleEndian.AppendUint32(nil, uint32(at))
		if _, err := c.ask(abi.LoadWrite, append(payload, object[at:min(at+piece, len(object))]...)); err != nil {
			return c.explain(err, map[abi.ErrorCode]string{abi.INVAL: "its header does not tell its length"})
		}
	}
	return nil
}

// askPID asks what is answered with a PID.
func (c *Client) askPID(kind byte, payload []byte) (uint32, error) {
	answer, err := c.ask(kind, payload)
	switch {
	case err != nil:
		return 0, err
	case len(answer) != 4:
		return 0, errFrame
	}
	return binary.LittleEndian.Uint32(answer), nil
}

// Unload unloads the task of a name, or with a PID in decimal.
func (c *Client) Unload(name string) error { return c.manage(abi.LoadUnload, name, nil) }

// Pause keeps a task from running, by its name or PID as in what follows, until Resume. The error is abi.ALREADY if it is paused, and abi.INVAL if it has ended.
func (c *Client) Pause(name string) error {
	return c.manage(abi.LoadPause, name, map[abi.ErrorCode]string{abi.ALREADY: "it is paused already"})
}

// Resume lets a paused task go on. The error is abi.ALREADY if it is not paused, and abi.INVAL if it has ended.
func (c *Client) Resume(name string) error {
	return c.manage(abi.LoadResume, name, map[abi.ErrorCode]string{abi.ALREADY: "it is not paused"})
}

// Kill ends a task as a fault does. The error is abi.INVAL if it has ended.
func (c *Client) Kill(name string) error { return c.manage(abi.LoadKill, name, nil) }

// maxState is how large a task's state can be: its memory is below 4 GiB. What a kernel sends beyond that is none.
const maxState = 1<<32 - 1

// Save returns the state of a task, by which Restore makes it what it is now. Meanwhile it does not run.
func (c *Client) Save(name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var state []byte
	err := c.each(abi.LoadSave, []byte(name), func(piece []byte) error {
		if len(state)+len(piece) > maxState {
			return errFrame
		}
		state = append(state, piece...)
		c.conn.SetDeadline(time.Now().Add(c.patience))
		return nil
	})
	return state, c.explainTask(err, map[abi.ErrorCode]string{abi.NOMEM: "the machine has not enough memory for that", abi.SIZE: "it has too much to do with drivers"})
}

// Restore makes a task what it was when its state was saved, as a new run, whose PID is returned. The task may have ended.
func (c *Client) Restore(name string, state []byte) (pid uint32, err error) {
	if err := checkName(name); err != nil {
		return 0, err
	}
	if err := c.write(state); err != nil {
		return 0, err
	}
	pid, err = c.askPID(abi.LoadRestore, []byte(name))
	return pid, c.explainTask(err, map[abi.ErrorCode]string{abi.NOMEM: "the machine has not enough memory for that",
		abi.INVAL: "the kernel refuses its state: the machine's console says why"})
}

func checkName(name string) error {
	if len(name) > abi.LoadPayload {
		return fmt.Errorf("a name of %d bytes: want at most %d", len(name), abi.LoadPayload)
	}
	return nil
}

// manage asks for what is done with a task. words say what statuses mean besides.
func (c *Client) manage(kind byte, name string, words map[abi.ErrorCode]string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := c.ask(kind, []byte(name))
	return c.explainTask(err, words)
}

// explainTask is explain for what was asked of a task. words go before what statuses mean otherwise.
func (c *Client) explainTask(err error, words map[abi.ErrorCode]string) error {
	all := map[abi.ErrorCode]string{
		abi.NODEVICE: "there is no task of that name, nor with that PID", abi.FAIL: "several tasks have that name: say which by its PID",
		abi.INVAL: "it has ended", abi.CANCEL: "it has ended, or was started anew, meanwhile", abi.BUSY: "another task is being restored", abi.NOSUPPORT: "the machine's kernel cannot do that: it is older"}
	maps.Copy(all, words)
	return c.explain(err, all)
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
