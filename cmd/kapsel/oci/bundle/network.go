package bundle

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"kapsel/vmm/ethernet/network"
)

// noNetwork is the word for a machine without a network.
const noNetwork = "none"

// addNetwork adds the network by its words, which may come from an image: they reach what the container's network namespace has, and no file.
func (b *Bundle) addNetwork(c *Command, words string) error {
	if words == "" || words == noNetwork {
		return nil
	}
	if err := b.checkNetwork(words); err != nil {
		return fmt.Errorf("%s%s %.200q: %w", prefix, wordNet, words, err)
	}
	c.Args = append(c.Args, "--net="+words)
	return nil
}

func (b *Bundle) checkNetwork(words string) error {
	n, err := network.Parse(words)
	switch {
	case err != nil:
		return fmt.Errorf("%w; or %s", err, noNetwork)
	case n.Unix != "":
		return fmt.Errorf("unix= would be a socket of the host: want user, tap= or %s", noNetwork)
	case n.Capture != "":
		return fmt.Errorf("pcap= would write to a file of the host: want it away")
	case !n.User && !b.ownNetwork():
		return fmt.Errorf("the container has the host's network, whose interfaces are not its own: want user, or a container with a network")
	}
	return nil
}

// ownNetwork reports whether the container has a network namespace of its own.
func (b *Bundle) ownNetwork() bool {
	if b.Spec.Linux == nil {
		return false
	}
	for _, n := range b.Spec.Linux.Namespaces {
		if n.Type == specs.NetworkNamespace {
			return true
		}
	}
	return false
}
