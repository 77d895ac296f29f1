package serve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"

	"kapsel/guest/abi"
	"kapsel/sandbox"
)

// Why a call does not come to a sandbox.
var (
	errQueue = errors.New("too many calls wait already")
	errWait  = errors.New("no sandbox was free in time")
)

// readError says that a request did not come.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// outcome is how a call ended: a word for metrics and for programs that call, the status of HTTP, and a text for people. The guest's console is not in it:
// that is for the log.
type outcome struct {
	word   string
	status int
	text   string
}

// Outcomes that no error of package sandbox is behind.
var (
	answered = outcome{"ok", http.StatusOK, ""}
	gone     = outcome{"gone", 0, "the caller has gone"}
	slow     = outcome{"slow", http.StatusRequestTimeout, "the request did not come in time"}
	broken   = outcome{"broken", http.StatusBadRequest, "the request cannot be read"}
	large    = outcome{"too_large", http.StatusRequestEntityTooLarge, sandbox.ErrTooLarge.Error()}
	busy     = outcome{"busy", http.StatusServiceUnavailable, "all sandboxes are in use: come again later"}
	closed   = outcome{"closed", http.StatusServiceUnavailable, "the server ends"}
	unstated = outcome{"failed", http.StatusInternalServerError, "no sandbox could be started"}
)

// kinds are the errors of a call that are of one outcome each. A task that cannot be relied on is a bad gateway.
var kinds = []struct {
	kind error
	outcome
}{
	{sandbox.ErrNoService, outcome{"no_service", http.StatusNotFound, ""}},
	{sandbox.ErrAnswer, outcome{"answer", http.StatusUnprocessableEntity, ""}},
	{sandbox.ErrTime, outcome{"time", http.StatusGatewayTimeout, ""}},
	{sandbox.ErrFault, outcome{"fault", http.StatusBadGateway, ""}},
	{sandbox.ErrMemory, outcome{"memory", http.StatusBadGateway, ""}},
	{sandbox.ErrEnded, outcome{"ended", http.StatusBadGateway, ""}},
	{sandbox.ErrOutput, outcome{"output", http.StatusBadGateway, ""}},
	{sandbox.ErrCalls, outcome{"calls", http.StatusBadGateway, ""}},
	{sandbox.ErrHandler, outcome{"handler", http.StatusBadGateway, ""}},
	{sandbox.ErrProtocol, outcome{"protocol", http.StatusBadGateway, ""}},
}

// largeReply is an answer of a task's that is over the limit.
var largeReply = outcome{"large_reply", http.StatusBadGateway, "the task's answer is too large"}

// outcomes are all that there are.
func outcomes() []outcome {
	all := []outcome{answered, gone, slow, broken, large, largeReply, busy, closed, unstated}
	for _, k := range kinds {
		all = append(all, k.outcome)
	}
	return all
}

// outcomeOf is the outcome of an error, of a call in whose request ctx is.
func outcomeOf(ctx context.Context, err error) outcome {
	var read *readError
	var tooLarge *http.MaxBytesError
	var of *sandbox.Error
	switch {
	case err == nil:
		return answered
	case errors.As(err, &tooLarge):
		return large
	case errors.Is(err, os.ErrDeadlineExceeded):
		return slow
	case ctx.Err() != nil:
		return gone
	case errors.As(err, &read):
		return broken
	case errors.Is(err, errQueue), errors.Is(err, errWait):
		return busy
	case errors.Is(err, sandbox.ErrPoolClosed), errors.Is(err, sandbox.ErrClosed):
		return closed
	case errors.As(err, &of):
		return outcomeOfCall(of)
	}
	return unstated
}

// outcomeOfCall is the outcome of a call that came to a sandbox. A request longer than the task's buffer is answered with SIZE.
func outcomeOfCall(e *sandbox.Error) outcome {
	switch {
	case e.Kind == sandbox.ErrTooLarge && e.Code != abi.OK:
		return large
	case e.Kind == sandbox.ErrTooLarge:
		return largeReply
	case e.Kind == sandbox.ErrAnswer && e.Code == abi.BUSY:
		return busy
	}
	for _, k := range kinds {
		if e.Kind == k.kind {
			k.text = k.kind.Error()
			if e.Code != abi.OK {
				k.text += ": " + e.Code.Error()
			}
			return k.outcome
		}
	}
	return unstated
}

// write sends the outcome as a line of JSON.
func (o outcome) write(w http.ResponseWriter) {
	if o.status == 0 {
		return
	}
	if o.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(o.status)
	json.NewEncoder(w).Encode(map[string]string{"error": o.text, "kind": o.word})
}
