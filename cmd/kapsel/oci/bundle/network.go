package bundle

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"kapsel/vmm/ethernet/link"
	"kapsel/vmm/ethernet/network"
)

// noNetwork is the word for a machine without a network.
const noNetwork = "none"

// addNetwork adds the network by its words, which may come from an image: they reach what the container's network namespace has, and no file. Without words it is the
// interface that the engine puts into that namespace, if it does; a snapshot has a network only by words.
func (b *Bundle) addNetwork(c *Command, p program, words string) error {
	own, err := b.ownNetwork()
	if err != nil {
		return fmt.Errorf("the network namespace: %w", err)
	}
	switch {
	case words == "":
		c.TakeInterface = own && p.snapshot == ""
		return nil
	case words == noNetwork:
		return nil
	}
	if err := checkWords(words, own); err != nil {
		return err
	}
	c.Args = append(c.Args, "--net="+words)
	return nil
}

// checkWords refuses words that are no network, or one of the host's. A network namespace of the container's own is not the host's.
func checkWords(words string, own bool) error {
	if words == noNetwork {
		return nil
	}
	c, err := network.Parse(words)
	if err == nil {
		err = checkNetwork(c, own)
	}
	if err != nil {
		return fmt.Errorf("%s%s %.200q: %w, or %s", prefix, wordNet, words, err, noNetwork)
	}
	return nil
}

// ownNetwork says whether the container has a network namespace of its own. One with a path may be the host's, as that of a pod with the host's network is.
func (b *Bundle) ownNetwork() (bool, error) {
	if b.Spec.Linux == nil {
		return false, nil
	}
	at := slices.IndexFunc(b.Spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	if at < 0 {
		return false, nil
	}
	path := b.Spec.Linux.Namespaces[at].Path
	if path == "" {
		return true, nil
	}
	ours, err := os.Stat("/proc/thread-self/ns/net") // the first thread, which /proc/self is, may have ended in another
	if err != nil {
		return false, err
	}
	theirs, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("%q: %w", path, withoutPath(err))
	}
	return !os.SameFile(ours, theirs), nil
}

// checkNetwork refuses what is the host's.
func checkNetwork(c network.Config, own bool) error {
	switch {
	case c.Unix != "":
		return errors.New("that is a socket of the host: want user, link= or tap=")
	case c.Capture != "":
		return errors.New("pcap= would write to a file of the host: want it away")
	case !c.User && !own:
		return errors.New("the container shares the network of the host, whose interfaces are not its own: want user, a container with a network")
	}
	return nil
}

// Interface is the argument of "kapsel run" for the interface that the engine has put into the network namespace of this process, which is the container's; empty if there is none. If
// there are some that a guest cannot have, the notes say why.
func Interface() (arg string, notes []string, err error) {
	name, unfit, err := link.Find()
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("the interfaces of the container's network namespace: %w", err)
	case name != "":
		return "--net=link=" + name, nil, nil
	}
	for _, why := range unfit {
		notes = append(notes, fmt.Sprintf("the guest has no network: %v, or %s%s user, which needs no interface", why, prefix, wordNet))
	}
	return "", notes, nil
}
