// Package bundle reads an OCI bundle (opencontainers/runtime-spec, bundle.md and config.md) and makes of it a command line of "kapsel run". Whoever made
// the image is hostile: files of the root file system are opened within it, and what annotations can ask for reaches no more of the host than a container may.
package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Config is the name of a bundle's configuration, and MaxConfig its largest size in bytes.
const (
	Config    = "config.json"
	MaxConfig = 4 << 20
)

// Bundle is a bundle whose configuration was read and checked.
type Bundle struct {
	Dir  string // absolute
	Spec *specs.Spec
	Root string // the root file system's directory, absolute; empty if the configuration has none
}

// Read reads the configuration of the bundle in a directory, and checks what this package and the verbs rely on. Properties that it does not know are ignored,
// as the specification wants it. Errors say what is wrong, what is wanted and what to do.
func Read(dir string) (*Bundle, error) {
	given := dir
	dir, err := filepath.Abs(dir)
	if err != nil { // of a path from a working directory that is gone
		return nil, fmt.Errorf("bundle %q: %w: want an absolute path, or a working directory that exists", given, err)
	}
	path := filepath.Join(dir, Config)
	text, err := readConfig(path)
	if err != nil {
		return nil, fmt.Errorf("bundle %q: %s: %w", dir, Config, withoutPath(err))
	}
	spec, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	b := &Bundle{Dir: dir, Spec: spec}
	if b.Root, err = root(dir, spec); err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return b, nil
}

// readConfig reads the file, which is to be a plain one.
func readConfig(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait for its other end
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no such file: want the directory of an OCI bundle, as --bundle DIR")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, MaxConfig)
}

// readAll reads a regular file of at most limit bytes.
func readAll(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkRegular(info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("more than %d bytes, which is the most that is read", limit)
	}
	return text, err
}

// parse reads a configuration and checks it.
func parse(text []byte) (*specs.Spec, error) {
	var spec specs.Spec
	if err := checkJSON(text); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("want a container's configuration as the OCI runtime specification has it: %w", err)
	}
	if err := checkVersion(spec.Version); err != nil {
		return nil, err
	}
	if _, nameless := spec.Annotations[""]; nameless {
		return nil, errors.New("an annotation has an empty name: want none, or a name")
	}
	return &spec, checkProcess(spec.Process)
}

// semantic is a version by Semantic Versioning 2.0.0; its group is the major version.
var semantic = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$`)

// checkVersion checks ociVersion: minor versions of one major version understand each other.
func checkVersion(version string) error {
	m := semantic.FindStringSubmatch(version)
	switch {
	case version == "":
		return fmt.Errorf(`no "ociVersion": want a version of the OCI runtime specification, as %q`, specs.Version)
	case m == nil:
		return fmt.Errorf("ociVersion %.40q: want a version as %q", version, specs.Version)
	case m[1] != "1":
		return fmt.Errorf("ociVersion %.40q: want 1.x, as %q: have the engine write the configuration for that", version, specs.Version)
	}
	return nil
}

// checkProcess checks what the specification demands of the process, if there is one: only start needs it.
func checkProcess(p *specs.Process) error {
	switch {
	case p == nil:
		return nil
	case !filepath.IsAbs(p.Cwd):
		return fmt.Errorf("process.cwd %.200q: want an absolute path", p.Cwd)
	case len(p.Args) == 0:
		return errors.New("process.args is empty: want one word or more, of which the first is what runs: give the image an entrypoint")
	}
	for _, list := range []struct {
		name  string
		words []string
	}{{"args", p.Args}, {"env", p.Env}} {
		for i, word := range list.words {
			if strings.IndexByte(word, 0) >= 0 {
				return fmt.Errorf("process.%s[%d] has a NUL character: no argument and no variable can", list.name, i)
			}
		}
	}
	return nil
}

// root is the root file system's directory. A machine that the vm object describes needs none.
func root(dir string, spec *specs.Spec) (string, error) {
	if spec.Root == nil || spec.Root.Path == "" {
		if spec.VM != nil && spec.Root == nil {
			return "", nil
		}
		return "", errors.New(`no "root.path": want the directory of the root file system, as "rootfs"`)
	}
	path := spec.Root.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("root.path %q: %w", path, withoutPath(err))
	}
	if !info.IsDir() {
		return "", fmt.Errorf("root.path %q: want a directory", path)
	}
	return path, nil
}

// withoutPath is what the operating system said of a file, whose name stands in front of it.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
