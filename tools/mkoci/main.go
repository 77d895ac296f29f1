// Command mkoci makes an OCI image of tasks, and of a kernel if they need one of their own, for engines whose runtime is kapsel-oci:
//
//	mkoci -o hello.tar -name localhost/hello:1 hello.tbf
//	podman load -i hello.tar; podman --runtime kapsel-oci run --rm localhost/hello:1
//
// The image is one file, an archive of an OCI layout. The same tasks give the same bytes.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/google/renameio/v2"

	"kapsel/cmd/kapsel/oci/bundle"
	"kapsel/tools/ociimage"
)

// words are the flags that become words for Kapsel: annotations org.kapsel.NAME, and members of /kapsel.json.
var words = map[string]string{
	"memory":  "the guest's memory, as 32M",
	"cmdline": "the kernel's command line",
	"net":     "the network, as kapsel run --net has it",
	"rng":     `"true": random numbers of the host's`,
}

func main() {
	flags := flag.NewFlagSet("mkoci", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: scripts/image -o FILE.tar -name NAME [flags] TASK.tbf|TASKS.tab|./PACKAGE...\n"+
			"makes an OCI image of task objects, and of Go packages, which it builds first")
		flags.PrintDefaults()
	}
	output := flags.String("o", "", "the archive to write")
	name := flags.String("name", "", "the image's name, as localhost/hello:1")
	kernel := flags.String("kernel", "", "an image (.elf); without, the kernel is the one that comes with the command")
	values := map[string]*string{}
	for word, what := range words {
		values[word] = flags.String(word, "", what)
	}
	flags.Parse(os.Args[1:])
	given := map[string]string{}
	for word, value := range values {
		if *value != "" {
			given[word] = *value
		}
	}
	if err := run(*output, *name, *kernel, flags.Args(), given); err != nil {
		fmt.Fprintln(os.Stderr, "mkoci:", err)
		os.Exit(1)
	}
}

// reference is what engines take as a name, with the registry, which podman and containerd would else guess.
var reference = regexp.MustCompile(`^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+:[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func run(output, name, kernel string, tasks []string, words map[string]string) error {
	switch {
	case output == "":
		return errors.New("want -o FILE, the archive to write")
	case !reference.MatchString(name):
		return fmt.Errorf("-name %q: want a name with a registry and a tag, as localhost/hello:1", name)
	}
	if err := bundle.CheckWords(words); err != nil {
		return err
	}
	var k *ociimage.File
	if kernel != "" {
		f, err := read(kernel)
		if err != nil {
			return err
		}
		k = &f
	}
	var files []ociimage.File
	for _, path := range tasks {
		f, err := read(path)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	m, err := ociimage.Kapsel(name, k, files, words)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := m.Write(&archive); err != nil {
		return err
	}
	return renameio.WriteFile(output, archive.Bytes(), 0o644)
}

// read reads a file, which lies at the root of the image.
func read(path string) (ociimage.File, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, syscall.EISDIR) {
		err = fmt.Errorf("%w: want a file, or of scripts/image a Go package as ./guest/tasks/hello", err)
	}
	return ociimage.File{Path: filepath.Base(path), Content: content}, err
}
