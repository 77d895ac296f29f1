package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/confine"
	"kapsel/vmm/peripheral"
)

// namedPorts are flags: the machine's named ports, each with how it is connected.
type namedPorts []namedPort

// namedPort is a named port, and how it is connected when the machine is made: to Input and Output, of which close is the end.
type namedPort struct {
	name    string
	needs   confine.Options // of the process that is confined when it is connected
	connect func(ctx context.Context, std stdio) (vmm.Port, io.Closer, error)
}

// add adds a port, unless its name is taken.
func (p *namedPorts) add(name string, needs confine.Options, connect func(ctx context.Context, std stdio) (vmm.Port, io.Closer, error)) error {
	for _, other := range *p {
		if other.name == name {
			return fmt.Errorf("there is a port with the name %s already", name)
		}
	}
	if len(*p) == abi.MaxPorts {
		return fmt.Errorf("more than the %d ports that a machine can have", abi.MaxPorts)
	}
	*p = append(*p, namedPort{name, needs, connect})
	return nil
}

// device is the device that the ports make, not connected.
func (p namedPorts) device() (ports vmm.Ports) {
	for _, named := range p {
		ports = append(ports, vmm.Port{Name: named.name})
	}
	return ports
}

// connect connects the ports, and returns the device that they make and what ends the connections.
func (p namedPorts) connect(ctx context.Context, std stdio) (ports vmm.Ports, end func(), err error) {
	var ends closers
	for _, named := range p {
		port, c, err := named.connect(ctx, std)
		if err != nil {
			ends.Close()
			return nil, nil, fmt.Errorf("port %s: %w", named.name, err)
		}
		port.Name = named.name
		ports = append(ports, port)
		if c != nil {
			ends = append(ends, c)
		}
	}
	return ports, func() { ends.Close() }, nil
}

// portFlag is a flag that may be repeated: a named port.
type portFlag struct{ ports *namedPorts }

func (f portFlag) String() string { return "" }

// Set reads NAME,out=FILE or NAME,in=FILE or both, or NAME,unix=PATH.
func (f portFlag) Set(text string) error {
	name, rest, _ := strings.Cut(text, ",")
	if err := vmm.CheckPortName(name); err != nil {
		return err
	}
	words := map[string]string{}
	for rest != "" {
		var word string
		word, rest, _ = strings.Cut(rest, ",")
		key, value, _ := strings.Cut(word, "=")
		if value == "" || words[key] != "" || key != "in" && key != "out" && key != "unix" {
			return fmt.Errorf("want NAME,in=FILE,out=FILE or NAME,unix=PATH, found %q", word)
		}
		words[key] = value
	}
	socket := words["unix"]
	if len(words) == 0 || socket != "" && len(words) > 1 {
		return errors.New("want NAME,in=FILE,out=FILE, or one of both, or NAME,unix=PATH")
	}
	if socket != "" {
		return f.ports.add(name, confine.Options{Sockets: true}, func(ctx context.Context, _ stdio) (vmm.Port, io.Closer, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if err != nil {
				return vmm.Port{}, nil, fmt.Errorf("%w: want a unix stream socket at which a program listens", err)
			}
			return vmm.Port{Input: conn, Output: conn}, conn, nil
		})
	}
	return f.ports.add(name, confine.Options{}, func(_ context.Context, std stdio) (vmm.Port, io.Closer, error) {
		return openFiles(std.outputs, words["in"], words["out"])
	})
}

// openFiles connects a port with files, of which each may be "".
func openFiles(outputs *outputs, in, out string) (p vmm.Port, c io.Closer, err error) {
	var files closers
	if in != "" {
		file, err := openPlain(in, os.O_RDONLY)
		if err != nil {
			return p, nil, err
		}
		files = append(files, file)
		p.Input = file
	}
	if out != "" {
		file, err := openOut(outputs, in, out)
		if err != nil {
			files.Close()
			return p, nil, err
		}
		files = append(files, file)
		p.Output = file
	}
	return p, files, nil
}

// openOut opens a file to write to, which is to be emptied, unless it is the one that is read.
func openOut(outputs *outputs, in, out string) (*os.File, error) {
	read, err1 := os.Stat(in)
	written, err2 := os.Stat(out)
	if err1 == nil && err2 == nil && read.Mode().IsRegular() && os.SameFile(read, written) {
		return nil, fmt.Errorf("%q: want another file than the one that is read, which would be emptied", out)
	}
	return outputs.open(out)
}

// openPlain opens a file, or a terminal or such: what opens at once.
func openPlain(path string, flags int) (*os.File, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && info.Mode()&fs.ModeCharDevice == 0 {
		return nil, fmt.Errorf("%q: want a file or a terminal; what another program serves is connected by unix=PATH", path)
	}
	return os.OpenFile(path, flags, 0o666)
}

// outputs are files that a command writes to. What they held is there until the command can begin: if it is refused, nothing has changed.
type outputs struct{ files []outFile }

type outFile struct {
	*os.File
	path string
	made bool // the file was not there before
}

// open opens a file to write to, or a terminal or such.
func (o *outputs) open(path string) (*os.File, error) {
	_, err := os.Lstat(path)
	made := errors.Is(err, fs.ErrNotExist)
	file, err := openPlain(path, os.O_WRONLY|os.O_CREATE)
	if err == nil {
		o.files = append(o.files, outFile{file, path, made})
	}
	return file, err
}

// begin empties the files.
func (o *outputs) begin() error {
	for _, f := range o.files {
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	o.files = nil
	return nil
}

// refuse takes the files away again that were made, unless the command has begun.
func (o *outputs) refuse() {
	for _, f := range o.files {
		if f.made {
			os.Remove(f.path)
		}
	}
}

// closers are closed together.
type closers []io.Closer

// Close closes all of them.
func (c closers) Close() error {
	var errs []error
	for _, each := range c {
		errs = append(errs, each.Close())
	}
	return errors.Join(errs...)
}

// fileFlag is a flag whose value is a file, which a port is connected with.
type fileFlag struct {
	ports   *namedPorts
	name    string
	needs   confine.Options
	connect func(ctx context.Context, std stdio, path string) (vmm.Port, io.Closer, error)
}

func (f fileFlag) String() string { return "" }

// Set takes the file's path.
func (f fileFlag) Set(path string) error {
	if path == "" {
		return errors.New("want FILE")
	}
	return f.ports.add(f.name, f.needs, func(ctx context.Context, std stdio) (vmm.Port, io.Closer, error) { return f.connect(ctx, std, path) })
}

// connectADC makes a converter of a file.
func connectADC(ctx context.Context, _ stdio, path string) (vmm.Port, io.Closer, error) {
	adc, err := peripheral.OpenADC(ctx, path)
	if err != nil {
		return vmm.Port{}, nil, err
	}
	return vmm.Port{Input: adc, Output: adc}, adc, nil
}

// connectDAC has a file take the values.
func connectDAC(_ context.Context, std stdio, path string) (vmm.Port, io.Closer, error) {
	return openFiles(std.outputs, "", path)
}

// connectScreen shows the screen on a terminal, or keeps its rows in a file.
func connectScreen(_ context.Context, std stdio, path string) (vmm.Port, io.Closer, error) {
	file, err := std.outputs.open(path)
	if err != nil {
		return vmm.Port{}, nil, err
	}
	if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
		return vmm.Port{Output: file}, file, nil
	}
	return vmm.Port{Output: peripheral.NewScreen(func(text []byte) error { return replace(file, text) })}, file, nil
}

// replace gives a file another contents.
func replace(file *os.File, text []byte) error {
	if _, err := file.WriteAt(text, 0); err != nil {
		return err
	}
	return file.Truncate(int64(len(text)))
}

// buzzerFlag is a flag without a value: a buzzer, which is heard on standard error.
type buzzerFlag struct{ ports *namedPorts }

func (f buzzerFlag) String() string { return "" }

// IsBoolFlag says that the flag stands alone.
func (f buzzerFlag) IsBoolFlag() bool { return true }

// Set takes true, which the flag alone means.
func (f buzzerFlag) Set(text string) error {
	if text != "true" {
		return errors.New("want --buzzer alone")
	}
	return f.ports.add(abi.PortBuzzer, confine.Options{}, func(_ context.Context, std stdio) (vmm.Port, io.Closer, error) {
		return vmm.Port{Output: peripheral.NewBuzzer(std.err)}, nil, nil
	})
}
