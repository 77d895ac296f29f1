package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// prefix begins the names of annotations that are Kapsel's, and kapselFile is the file of the root file system that has the same words, without it.
const (
	prefix        = "org.kapsel."
	kapselFile    = "/kapsel.json"
	maxKapselFile = 64 << 10 // bytes
)

// Words of a container.
const (
	wordKernel   = "kernel"   // a path in the root file system
	wordTasks    = "tasks"    // paths with spaces between
	wordSnapshot = "snapshot" // the path of a directory that kapsel snapshot has saved
	wordCmdline  = "cmdline"
	wordMemory   = "memory"
	wordNet      = "net"
	wordRNG      = "rng"
)

// known are all words, and what of them says what runs.
var (
	known    = []string{wordKernel, wordTasks, wordSnapshot, wordCmdline, wordMemory, wordNet, wordRNG}
	whatRuns = []string{wordKernel, wordTasks, wordSnapshot}
)

// words are the container's: those of annotations, and of kapselFile what they leave out. What runs is taken from one of them as a whole. from says where that was,
// empty for nowhere, and unknown are the names of annotations that mean nothing here.
func (b *Bundle) words() (words map[string]string, from string, unknown []string, err error) {
	words, err = b.fileWords()
	if err != nil {
		return nil, "", nil, fmt.Errorf("%q in the root file system: %w", kapselFile, withoutPath(err))
	}
	if words != nil {
		from = kapselFile
	}
	annotated := map[string]string{}
	for name, value := range b.Spec.Annotations {
		word, ours := strings.CutPrefix(name, prefix)
		switch {
		case !ours:
		case !slices.Contains(known, word):
			unknown = append(unknown, name)
		default:
			annotated[word] = value
		}
	}
	slices.Sort(unknown)
	if slices.ContainsFunc(whatRuns, func(word string) bool { return annotated[word] != "" }) {
		from = "annotations"
		maps.DeleteFunc(words, func(word, _ string) bool { return slices.Contains(whatRuns, word) })
	}
	if words == nil {
		words = map[string]string{}
	}
	maps.Copy(words, annotated)
	return words, from, unknown, nil
}

// fileWords are the words of kapselFile, nil if there is none.
func (b *Bundle) fileWords() (map[string]string, error) {
	if b.Root == "" {
		return nil, nil
	}
	f, err := within(b.Root, kapselFile, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readAll(f, maxKapselFile)
	if err != nil {
		return nil, err
	}
	return parseWords(text)
}

// parseWords reads kapselFile: an object of strings whose names are words.
func parseWords(text []byte) (map[string]string, error) {
	words := map[string]string{}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&words); err != nil {
		return nil, fmt.Errorf(`want an object of strings, as {"kernel": "/kapsel.elf", "memory": "64M"}: %w`, err)
	}
	if _, err := d.Token(); err != io.EOF { // More is about what is not over yet: it passes over a brace
		return nil, errors.New("want one object, found more behind it")
	}
	if err := checkNames(words); err != nil {
		return nil, err
	}
	if words == nil { // null
		words = map[string]string{}
	}
	return words, nil
}

// checkNames refuses words that are none.
func checkNames(words map[string]string) error {
	for _, word := range slices.Sorted(maps.Keys(words)) {
		if !slices.Contains(known, word) {
			return fmt.Errorf("no word %.40q: want %s", word, strings.Join(known, ", "))
		}
	}
	return nil
}

// CheckWords refuses what no container can have, whatever its configuration, in words that an image is to be made with. Its files are not looked at.
func CheckWords(words map[string]string) error {
	if err := checkNames(words); err != nil {
		return err
	}
	if text := words[wordMemory]; text != "" { // which is as if it were not there
		size, err := parseMemory(text)
		if err == nil {
			err = checkMemory(size, prefix+wordMemory)
		}
		if err != nil {
			return err
		}
	}
	if text := words[wordNet]; text != "" {
		if err := checkWords(text, true); err != nil {
			return err
		}
	}
	if _, err := parseRNG(words[wordRNG]); err != nil {
		return err
	}
	return checkCmdline(words[wordCmdline])
}
