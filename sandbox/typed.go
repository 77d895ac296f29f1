package sandbox

import (
	"context"
	"encoding/json"
	"fmt"

	"kapsel/guest/abi"
)

// Codec is how values become bytes and back, for Func and HandlerOf. It is used by several goroutines at once.
type Codec interface {
	// Append appends v to b, and returns that.
	Append(b []byte, v any) ([]byte, error)
	// Decode makes v, a pointer, what the bytes say. It does not keep them.
	Decode(b []byte, v any) error
}

// JSON is encoding/json as a Codec.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Append(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(b, text...), err
}

func (jsonCodec) Decode(b []byte, v any) error { return json.Unmarshal(b, v) }

// Func returns a service of the guest's as a function. A reply that the codec cannot read is an error of the codec's: what the guest says is hostile.
func Func[In, Out any](s *Sandbox, name string, c Codec) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (out Out, err error) {
		request, err := c.Append(nil, in)
		if err != nil {
			return out, fmt.Errorf("sandbox: the request to %q: %w", name, err)
		}
		reply, err := s.Call(ctx, name, request)
		if err != nil {
			return out, err
		}
		if err := c.Decode(reply, &out); err != nil {
			var none Out
			return none, fmt.Errorf("sandbox: the reply of %q: %w", name, err)
		}
		return out, nil
	}
}

// HandlerOf returns a function of the host's as a Handler. A task whose request the codec cannot read gets INVAL.
func HandlerOf[In, Out any](c Codec, f func(context.Context, In) (Out, error)) Handler {
	return func(ctx context.Context, reply, request []byte) ([]byte, error) {
		var in In
		if err := c.Decode(request, &in); err != nil {
			return nil, abi.INVAL
		}
		out, err := f(ctx, in)
		if err != nil {
			return nil, err
		}
		return c.Append(reply, out)
	}
}
