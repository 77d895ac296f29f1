package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"kapsel/vmm"
	"kapsel/vmm/confine"
	"kapsel/vmm/qemu"
)

// confineFlag is a flag: whether the command confines itself when the machine is made.
type confineFlag string

// What a confineFlag can be.
const (
	confineDefault confineFlag = ""   // on, as far as the host can
	confineOn      confineFlag = "on" // or the command fails
	confineOff     confineFlag = "off"
)

// String returns on or off.
func (f *confineFlag) String() string {
	if *f == confineDefault {
		return string(confineOn)
	}
	return string(*f)
}

// Set takes on or off.
func (f *confineFlag) Set(text string) error {
	switch v := confineFlag(text); v {
	case confineOn, confineOff:
		*f = v
		return nil
	}
	return errors.New("want on or off")
}

// confineFor confines the command for its machine: now, or when QEMU has started, which confines itself otherwise.
func (o *runOptions) confineFor(m machine, c vmm.Config, in *os.File) error {
	if o.confine == confineOff {
		return nil
	}
	needs := o.confine.telling(o.needs(in), c)
	if q, ok := m.(*qemu.Machine); ok {
		q.Started = func(pid int) error {
			needs.Child = pid
			return confined(needs)
		}
		return nil
	}
	return confined(needs)
}

// telling is needs with where what is lacking is told, as the flag has it.
func (f confineFlag) telling(needs confine.Options, c vmm.Config) confine.Options {
	needs.Log = func(format string, args ...any) { c.Log("confined: "+format, args...) }
	if f == confineDefault {
		needs.Warn = func(format string, args ...any) {
			c.Warn(format+"; --confine=off says that this is known", args...)
		}
	}
	return needs
}

// confined confines the command.
func confined(needs confine.Options) error {
	if err := confine.Process(needs); err != nil {
		return fmt.Errorf("--confine=on: %w: --confine=off runs the machine without", err)
	}
	return nil
}

// needs is what the command has to do after the machine was made, by what the machine has.
func (o *runOptions) needs(in *os.File) (needs confine.Options) {
	_, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	needs.Terminal = err == nil
	for _, d := range o.devices {
		if d, ok := d.(vmm.Disk); ok && d.Private == 0 {
			needs.Files = true // one that is read-only is flushed as well
		}
	}
	for _, p := range o.ports {
		needs.Add(p.needs)
	}
	if n := o.net.Config; n != nil {
		needs.Network, needs.Packets = n.User, n.Link != ""
		if n.Unix != "" {
			needs.Add(confine.Options{Sockets: true, Remove: []string{n.Unix}})
		}
	}
	return needs
}
