// Command cri asks a container runtime what a kubelet asks it, by the Container Runtime Interface (CRI, runtime.v1):
//
//	cri SOCKET METHOD <REQUEST >RESPONSE
//
// METHOD is one of the services RuntimeService and ImageService, such as RunPodSandbox. REQUEST and RESPONSE are its messages in JSON (protojson);
// no request is an empty one.
//
//	cri attach URL
//
// connects standard input and output with the streams of a container, at the URL that the method Attach answered.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// Its descriptors are where the methods are looked up.
	_ "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// timeout ends a call, or streams, that do not end: far more than any takes.
const timeout = 2 * time.Minute

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: cri SOCKET METHOD <REQUEST; cri attach URL")
	}
	if args[0] == "attach" {
		return attach(ctx, args[1], os.Stdin, os.Stdout, os.Stderr)
	}
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	response, err := call(ctx, args[0], args[1], request)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(response, '\n'))
	return err
}

// call carries out a method at the runtime's socket and returns its response. Both messages are JSON.
func call(ctx context.Context, socket, method string, request []byte) ([]byte, error) {
	m, err := find(protoreflect.Name(method))
	if err != nil {
		return nil, err
	}
	in, err := message(m.Input())
	if err != nil {
		return nil, err
	}
	out, err := message(m.Output())
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(request)) > 0 {
		if err := protojson.Unmarshal(request, in); err != nil {
			return nil, fmt.Errorf("the request is no %s: %w", m.Input().Name(), err)
		}
	}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.Invoke(ctx, fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()), in, out, grpc.WaitForReady(true)); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return protojson.Marshal(out)
}

// find returns the method of that name.
func find(name protoreflect.Name) (protoreflect.MethodDescriptor, error) {
	for _, service := range []protoreflect.FullName{"runtime.v1.RuntimeService", "runtime.v1.ImageService"} {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(service.Append(name))
		if err != nil {
			continue
		}
		if m, ok := d.(protoreflect.MethodDescriptor); ok && !m.IsStreamingClient() && !m.IsStreamingServer() {
			return m, nil
		}
	}
	return nil, fmt.Errorf("the CRI has no method %s of one request and one response", name)
}

// message makes an empty message of the type.
func message(d protoreflect.MessageDescriptor) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, err
	}
	return t.New().Interface(), nil
}
