package oci

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"kapsel/cmd/kapsel/oci/namespace"
	"kapsel/files"
	"kapsel/guest/abi"
)

// Stdio is where a verb reads and writes. A container without a terminal inherits it.
type Stdio struct{ In, Out, Err *os.File }

// Exit statuses of the verbs. A status above them is that of a container (of run) or of runc.
const (
	statusDone   = 0
	statusFailed = 1
	statusSignal = 128 // of run, plus the number of the signal that ended the container
)

// initVerb is the verb of the process that becomes the container's.
const initVerb = "init"

// A call is one run of the command: the global flags, the words behind them, and where it speaks.
type call struct {
	root, logPath, logFormat, rootless string
	systemd, debug, version            bool

	args []string // as runc would be given them
	std  Stdio
	log  *journal
}

// systemPath is where runc and QEMU are looked for if the engine says nothing: podman calls delete with no PATH.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Main is "kapsel oci ARGS": it does what the verb among the arguments says, and returns the exit status. An error is in the log that --log names, too.
func Main(args []string, std Stdio) (status int, err error) {
	r := &call{args: args, std: std, log: &journal{err: std.Err}}
	defer func() {
		if p := recover(); p != nil {
			status, err = statusFailed, fmt.Errorf("a fault of kapsel's own: %v: please report it, with what --debug says", p)
			r.log.say("%s", debug.Stack())
		}
		if err != nil && !errors.Is(err, flag.ErrHelp) {
			r.log.write(levelError, files.Words(err))
		}
		r.log.close()
	}()
	if os.Getenv("PATH") == "" {
		os.Setenv("PATH", systemPath)
	}
	words, err := r.parse(args)
	if err != nil {
		return statusFailed, err
	}
	if r.version {
		if _, err := fmt.Fprintf(std.Out, "kapsel version %s\nspec: %s\n", abi.Version, specs.Version); err != nil {
			return statusFailed, err
		}
		return statusDone, nil
	}
	if len(words) == 0 {
		return statusFailed, errors.New("oci: want a verb: create, start, state, kill, delete, run, list or features: see kapsel help oci")
	}
	return r.verb(words[0], words[1:])
}

// parse reads the global flags, opens the log, and returns the words behind them.
func (r *call) parse(args []string) ([]string, error) {
	f := newFlags("")
	f.StringVar(&r.root, "root", defaultRoot(), "")
	f.StringVar(&r.logPath, "log", "", "")
	f.StringVar(&r.logFormat, "log-format", formatText, "")
	f.StringVar(&r.rootless, "rootless", "auto", "")
	f.BoolVar(&r.systemd, "systemd-cgroup", false, "")
	f.BoolVar(&r.debug, "debug", false, "")
	boolFlag(f, &r.version, "version", "v")
	wrong := f.Parse(args)
	for rest := f.Args(); wrong != nil && len(rest) > 0; rest = rest[1:] { // the log that is named behind what is wrong is to have the error
		f.Parse(rest)
	}
	err := r.log.open(r.logPath, r.logFormat, r.debug)
	if wrong != nil {
		return nil, flagError(f, wrong)
	}
	if err != nil {
		return nil, err
	}
	if r.root == "" {
		return nil, errors.New("--root is empty: want the directory that the containers' state lies in")
	}
	root, err := filepath.Abs(r.root)
	if err != nil {
		return nil, fmt.Errorf("--root %q: %w", r.root, err)
	}
	r.root = root
	switch r.rootless {
	case "auto", "true", "false":
	default:
		return nil, fmt.Errorf("--rootless %q: want true, false or auto", r.rootless)
	}
	return f.Args(), nil
}

// defaultRoot is the directory of the state without --root: of root's containers below /run, of another user's where that user's sessions have theirs.
func defaultRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Geteuid() != 0 {
		return filepath.Join(dir, "kapsel")
	}
	return "/run/kapsel"
}

// verb does what a verb says.
func (r *call) verb(name string, args []string) (int, error) {
	switch name {
	case "create":
		return r.createVerb(args)
	case "run":
		return r.runVerb(args)
	case "start":
		return r.startVerb(args)
	case "state":
		return r.stateVerb(args)
	case "kill":
		return r.killVerb(args)
	case "delete":
		return r.deleteVerb(args)
	case "list":
		return r.listVerb(args)
	case "features":
		return r.featuresVerb(args)
	case initVerb:
		return becomeContainer()
	case namespace.SpawnVerb:
		if err := namespace.Spawn(r.std.In, r.std.Out); err != nil {
			return statusFailed, err
		}
		return statusDone, nil
	}
	return r.otherVerb(name, args)
}

// newFlags are the flags of a verb, which print nothing themselves.
func newFlags(verb string) *flag.FlagSet {
	f := flag.NewFlagSet(verb, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// boolFlag adds a flag that has a short name, too.
func boolFlag(f *flag.FlagSet, value *bool, long, short string) {
	f.BoolVar(value, long, false, "")
	f.BoolVar(value, short, false, "")
}

// stringFlag is boolFlag for a text, which is the value's as long as the flag is not given.
func stringFlag(f *flag.FlagSet, value *string, long, short string) {
	f.StringVar(value, long, *value, "")
	f.StringVar(value, short, *value, "")
}

// flagError is what is wrong with a verb's flags.
func flagError(f *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
		err = fmt.Errorf("no flag --%s", name)
	}
	return fmt.Errorf("%s: %w: see kapsel help oci", verbName(f), err)
}

func verbName(f *flag.FlagSet) string {
	if f.Name() == "" {
		return "oci"
	}
	return f.Name()
}

// parseID reads the flags of a verb for one container, and returns its ID and the words behind it, of which there may be up to more.
func parseID(f *flag.FlagSet, args []string, more int) (id string, rest []string, err error) {
	if err := f.Parse(args); err != nil {
		return "", nil, flagError(f, err)
	}
	switch {
	case f.NArg() == 0:
		return "", nil, fmt.Errorf("%s: want the ID of a container, found none", verbName(f))
	case f.NArg() > 1+more:
		return "", nil, fmt.Errorf("%s: unexpected argument %q", verbName(f), f.Arg(1+more))
	}
	return f.Arg(0), f.Args()[1:], checkID(f.Arg(0))
}

// about carries out a verb about one container, for which there may be up to more words behind the ID: runc's by foreign, Kapsel's by ours.
func (r *call) about(f *flag.FlagSet, args []string, more int, foreign func(id string) (int, error), ours func(id string, rest []string) error) (int, error) {
	id, rest, err := parseID(f, args, more)
	if err != nil {
		return statusFailed, err
	}
	if r.isForeign(id) {
		return foreign(id)
	}
	if err := ours(id, rest); err != nil {
		return statusFailed, err
	}
	return statusDone, nil
}

// maxID is the length of the longest ID: it is a file's name.
const maxID = 255

// checkID checks a container's ID, which names a directory: the characters that runc takes.
func checkID(id string) error {
	valid := id != "" && len(id) <= maxID && id != "." && id != ".."
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '+', c == '-', c == '.':
		default:
			valid = false
		}
	}
	if !valid {
		return fmt.Errorf("container ID %s: want 1 to %d of the characters a-z A-Z 0-9 _ + - . but neither . nor .. alone", short(id), maxID)
	}
	return nil
}

// short quotes what may be long.
func short(text string) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(text[:most]) + "..."
	}
	return strconv.Quote(text)
}
