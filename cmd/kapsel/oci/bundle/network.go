package bundle

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"kapsel/vmm/ethernet/link"
	"kapsel/vmm/ethernet/network"
)

// noNetwork is the word for a machine without a network.
const noNetwork = "none"

// addNetwork adds the network by its words, which may come from an image: they reach what the container's network namespace has, and no file. Without words it is the
// interface that the engine has put into that namespace, if it has; a snapshot has a network only by words.
func (b *Bundle) addNetwork(c *Command, p program, words string) error {
	namespace, err := b.openNetwork()
	if err != nil {
		return fmt.Errorf("the network namespace: %w", err)
	}
	defer namespace.close()
	if words == "" && p.snapshot == "" {
		if words, err = namespace.words(c); err != nil {
			return fmt.Errorf("the interfaces of the container's network namespace: %w: want the path of one, as /proc/PID/ns/net", err)
		}
	}
	if words == "" || words == noNetwork {
		return nil
	}
	if err := namespace.checkWords(words); err != nil {
		return err
	}
	c.Args = append(c.Args, "--net="+words)
	return nil
}

// checkWords refuses words that are no network, or one of the host's.
func (n networkNamespace) checkWords(words string) error {
	if words == noNetwork {
		return nil
	}
	c, err := network.Parse(words)
	if err == nil {
		err = n.check(c)
	}
	if err != nil {
		return fmt.Errorf("%s%s %.200q: %w, or %s", prefix, wordNet, words, err, noNetwork)
	}
	return nil
}

// networkNamespace is the container's.
type networkNamespace struct {
	own  bool     // not the one of this process, which is the host's
	made *os.File // by the engine; nil for none
}

func (n networkNamespace) close() {
	if n.made != nil {
		n.made.Close()
	}
}

// openNetwork finds the container's network namespace. One with a path may be the host's, as that of a pod with the host's network is.
func (b *Bundle) openNetwork() (n networkNamespace, err error) {
	if b.Spec.Linux == nil {
		return n, nil
	}
	at := slices.IndexFunc(b.Spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	if at < 0 {
		return n, nil
	}
	path := b.Spec.Linux.Namespaces[at].Path
	if path == "" {
		return networkNamespace{own: true}, nil
	}
	ours, err := os.Stat("/proc/thread-self/ns/net") // the first thread, which /proc/self is, may have ended in another
	if err != nil {
		return n, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return n, fmt.Errorf("%q: %w", path, withoutPath(err))
	}
	theirs, err := file.Stat()
	if err != nil || os.SameFile(ours, theirs) {
		file.Close()
		return n, err
	}
	return networkNamespace{own: true, made: file}, nil
}

// check refuses what is the host's.
func (n networkNamespace) check(c network.Config) error {
	switch {
	case c.Unix != "":
		return errors.New("that is a socket of the host: want user, link= or tap=")
	case c.Capture != "":
		return errors.New("pcap= would write to a file of the host: want it away")
	case !c.User && !n.own:
		return errors.New("the container shares the network of the host, whose interfaces are not its own: want user, a container with a network")
	}
	return nil
}

// words are those of the interface that the engine has put into a network namespace that it has made, as CNI does; empty if there is none. If there are some that a guest cannot have, that
// is noted.
func (n networkNamespace) words(c *Command) (string, error) {
	if n.made == nil {
		return "", nil
	}
	var name string
	var unfit []error
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and its namespace is no other's
		if err = unix.Setns(int(n.made.Fd()), unix.CLONE_NEWNET); err == nil {
			name, unfit, err = link.Find()
		}
	}()
	<-done
	if name != "" || err != nil {
		return "link=" + name, err
	}
	for _, why := range unfit {
		c.note("the guest has no network: %v, or %s%s user, which needs no interface", why, prefix, wordNet)
	}
	return "", nil
}
