// Package network reads what a user says about a machine's network device, and connects it: --net of the command.
// It links every backend, user mode too; who wants one alone takes package ethernet or its package user.
package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/link"
	"kapsel/vmm/ethernet/user"
)

// A Config says what a network device is connected to. Of User, TAP, Unix and Link one is set; the zero value is no device.
type Config struct {
	User bool   // user mode, with Forwards and Allow
	TAP  string // the name of an interface
	Unix string // the path of a datagram socket
	Link string // the name of an interface that is the guest's

	Resolvers []netip.Addr // of Link: that its guest is told; none: those of the host

	Forwards []user.Forward
	Allow    []user.Rule

	MAC     ethernet.MAC // zero: Open chooses one by chance
	Capture string       // the path of a pcap file; empty: none
}

// Usage is the form of what Parse reads.
const Usage = "user[,forward=tcp:8080:80][,allow=HOST:PORTS]|tap=NAME|unix=PATH|link=NAME[,dns=ADDRESS][,mac=MAC][,pcap=FILE]"

// Parse reads a device's words, which have commas between: first user, tap=NAME, unix=PATH or link=NAME, then options in any
// order. Forward and allow are of user, dns is of link, and they may be repeated. No word can have a comma in it.
func Parse(text string) (Config, error) {
	first, rest, more := strings.Cut(text, ",")
	var c Config
	if err := c.setKind(first); err != nil {
		return Config{}, err
	}
	for more {
		var word string
		word, rest, more = strings.Cut(rest, ",")
		if err := c.setOption(word); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// setKind reads the first word.
func (c *Config) setKind(word string) error {
	kind, value, given := strings.Cut(word, "=")
	switch {
	case kind == "user" && !given:
		c.User = true
		return nil
	case kind == "tap" && given:
		c.TAP = value
		return checkInterface(word, value)
	case kind == "link" && given:
		c.Link = value
		return checkInterface(word, value)
	case kind == "unix" && given && value == "":
		return errors.New("unix= wants the path of a socket, as unix=/tmp/net.sock")
	case kind == "unix" && given:
		c.Unix = value
		return nil
	}
	return fmt.Errorf("want user, tap=NAME, unix=PATH or link=NAME first, found %q", word)
}

// longestInterface is the longest name of an interface in bytes (netdevice(7)).
const longestInterface = 15

// checkInterface says why Linux has no interface of a name, which a word has.
func checkInterface(word, name string) error {
	if name == "" || len(name) > longestInterface || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r\x00") {
		return fmt.Errorf("want the name of an interface, of 1 to %d bytes, as tap=tap0 or link=eth0, found %q", longestInterface, word)
	}
	return nil
}

// setOption reads one of the other words.
func (c *Config) setOption(word string) error {
	option, value, _ := strings.Cut(word, "=")
	switch option {
	case "forward", "allow":
		if !c.User {
			return fmt.Errorf("%s= is of user mode alone: other networks are the host's to configure", option)
		}
	case "dns":
		if c.Link == "" {
			return errors.New("dns= is of link= alone: user mode has a resolver, and other networks are the host's to configure")
		}
	case "mac":
		if c.Link != "" {
			return fmt.Errorf("mac= is of other networks than link=: the guest has the address of %s", c.Link)
		}
	case "pcap":
	default:
		return fmt.Errorf("want forward=, allow=, dns=, mac= or pcap=, found %q", word)
	}
	if err := c.set(option, value); err != nil {
		return fmt.Errorf("%s=%s: %w", option, value, err)
	}
	return nil
}

// set sets an option to its value.
func (c *Config) set(option, value string) (err error) {
	switch option {
	case "forward":
		var f user.Forward
		f, err = user.ParseForward(value)
		for _, other := range c.Forwards {
			if err == nil && other.Protocol == f.Protocol && other.Host == f.Host {
				err = fmt.Errorf("%s leads to port %d already", f.Host, other.Guest)
			}
		}
		c.Forwards = append(c.Forwards, f)
	case "allow":
		var r user.Rule
		r, err = user.ParseRule(value)
		c.Allow = append(c.Allow, r)
	case "dns":
		var a netip.Addr
		if a, err = netip.ParseAddr(value); err != nil || !a.Is4() {
			return errors.New("want the IPv4 address of a resolver, as dns=10.96.0.10")
		}
		c.Resolvers = append(c.Resolvers, a)
	case "mac":
		if c.MAC != (ethernet.MAC{}) {
			return fmt.Errorf("the device has the address %s already", c.MAC)
		}
		c.MAC, err = ethernet.ParseMAC(value)
	case "pcap":
		switch {
		case c.Capture != "":
			return fmt.Errorf("the capture goes to %q already", c.Capture)
		case value == "":
			return errors.New("want the name of a file")
		}
		c.Capture = value
	}
	return err
}

// String writes the device's words as Parse reads them.
func (c Config) String() string {
	var words []string
	switch {
	case c.User:
		words = append(words, "user")
	case c.TAP != "":
		words = append(words, "tap="+c.TAP)
	case c.Unix != "":
		words = append(words, "unix="+c.Unix)
	case c.Link != "":
		words = append(words, "link="+c.Link)
	}
	for _, a := range c.Resolvers {
		words = append(words, "dns="+a.String())
	}
	for _, f := range c.Forwards {
		words = append(words, "forward="+f.String())
	}
	for _, r := range c.Allow {
		words = append(words, "allow="+r.String())
	}
	if c.MAC != (ethernet.MAC{}) {
		words = append(words, "mac="+c.MAC.String())
	}
	if c.Capture != "" {
		words = append(words, "pcap="+c.Capture)
	}
	return strings.Join(words, ",")
}

// Open connects the device: it opens the interface, the socket or the listeners of forwards, and the capture. Log takes lines
// as of user.Config and ethernet.NewPort. The error says what to do, and is about the host: what Parse reads can be opened somewhere.
func (c Config) Open(log func(format string, args ...any)) (*ethernet.Port, error) {
	backend, mac, err := c.open(log)
	if err != nil {
		return nil, err
	}
	var capture *ethernet.Capture
	if c.Capture != "" {
		if capture, err = ethernet.CreateCapture(c.Capture); err != nil {
			return nil, errors.Join(fmt.Errorf("capture: %w", err), backend.Close())
		}
	}
	return ethernet.NewPort(mac, backend, capture, log), nil
}

// open makes the backend, and says which address the device has.
func (c Config) open(log func(format string, args ...any)) (b ethernet.Backend, mac ethernet.MAC, err error) {
	if mac = c.MAC; mac == (ethernet.MAC{}) {
		mac = ethernet.RandomMAC()
	}
	switch {
	case c.User:
		b, err = user.New(user.Config{MAC: mac, Forwards: c.Forwards, Allow: c.Allow, Log: log})
	case c.TAP != "":
		b, err = ethernet.OpenTAP(c.TAP)
	case c.Unix != "":
		b, err = ethernet.OpenUnix(c.Unix, mac)
	case c.Link != "":
		return openLink(link.Config{Name: c.Link, Resolvers: c.Resolvers, Log: log})
	default:
		err = fmt.Errorf("no network: want %s", Usage)
	}
	return b, mac, err
}

// openLink opens an interface, whose address is the device's.
func openLink(c link.Config) (ethernet.Backend, ethernet.MAC, error) {
	l, err := link.Open(c)
	if err != nil {
		return nil, ethernet.MAC{}, err
	}
	return l, l.MAC(), nil
}

// A Flag is a Config on a command line, at most once: package flag's Value.
type Flag struct{ *Config } // nil: not given

// Set reads the words of a device.
func (f *Flag) Set(text string) error {
	if f.Config != nil {
		return errors.New("a machine has one network device")
	}
	c, err := Parse(text)
	if err == nil {
		f.Config = &c
	}
	return err
}

// String writes the device's words.
func (f *Flag) String() string {
	if f.Config == nil {
		return ""
	}
	return f.Config.String()
}
