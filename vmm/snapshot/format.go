package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	oci "github.com/opencontainers/image-spec/specs-go/v1"

	"kapsel/guest/abi"
)

// Versions of what a snapshot on disk is made of. Load takes these, and no other.
const (
	// GuestVersion is that of what guest and monitor agreed upon and the memory holds: the board's devices, BootInfo, the words that the kernel's
	// notes name. It changes when a guest of before would not go on under the monitor of now.
	GuestVersion = 1
	// MemoryVersion is that of the encoding of the layers (pages.go, disks.go).
	MemoryVersion = 1
	// ConfigVersion is that of the configuration: of State, and what is around it.
	ConfigVersion = 2
)

// Names of the OCI artifact (OCI Image Format 1.1, "Guidelines for Artifact Usage"). Its configuration is that of an image with more
// in it, so that every tool can show it; artifactType says that it is no image to unpack.
const (
	artifactType = "application/vnd.kapsel.snapshot.v1"
	memoryType   = "application/vnd.kapsel.snapshot.memory.v1"
	diskType     = "application/vnd.kapsel.snapshot.disk.v1"
	tag          = "snapshot"
	architecture = "amd64"
	system       = "kapsel"
)

// The largest files of JSON that are read, in bytes, and what one may have in it. A configuration is some 20 KiB with 2,000 names and values; requests in the queues of
// a guest that makes them of many pieces add to it.
const (
	maxManifest = 64 << 10
	maxConfig   = 1 << 20
	maxTokens   = 64 << 10
	maxDepth    = 16
)

// config is the configuration: an oci.Image with the state in it.
type config struct {
	Created      time.Time  `json:"created"`
	Architecture string     `json:"architecture"`
	OS           string     `json:"os"`
	RootFS       oci.RootFS `json:"rootfs"`
	Snapshot     contents   `json:"snapshot"`
}

// contents is what the configuration says of a snapshot.
type contents struct {
	Release  string   `json:"release"` // of Kapsel, that took it
	Versions versions `json:"versions"`
	State    State    `json:"state"`
}

// versions are those that a snapshot was written with.
type versions struct {
	Guest  int `json:"guest"`
	Memory int `json:"memory"`
	Config int `json:"config"`
}

// newConfig is the configuration of a state beside its layers.
func newConfig(s *State, release string, layers []digest.Digest) *config {
	return &config{
		Created: s.Taken, Architecture: architecture, OS: system,
		RootFS:   oci.RootFS{Type: "layers", DiffIDs: layers},
		Snapshot: contents{release, versions{GuestVersion, MemoryVersion, ConfigVersion}, *s},
	}
}

// encode writes JSON as it stands in a snapshot: with a line for each field, as people read it.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	err := e.Encode(v)
	return b.Bytes(), err
}

// decodeConfig reads a configuration that stands beside layers. The same state has one encoding, so it is written again and compared: a field
// that is missing, unknown, there twice or written otherwise is found in whichever structure it is.
func decodeConfig(data []byte, layers []digest.Digest) (*State, error) {
	if err := checkShape(data); err != nil {
		return nil, damaged(err)
	}
	if err := checkVersions(data); err != nil {
		return nil, err
	}
	var found config
	if err := json.Unmarshal(data, &found); err != nil {
		return nil, damaged(jsonError(err))
	}
	state := &found.Snapshot.State
	want, err := encode(newConfig(state, found.Snapshot.Release, layers))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(data, want) {
		return nil, damaged(difference(data, want))
	}
	return state, nil
}

// checkVersions looks at the versions, of all of which another kapsel may have another opinion, before anything else is read.
func checkVersions(data []byte) error {
	var found struct {
		Snapshot struct {
			Release  string
			Versions versions
		}
	}
	if err := json.Unmarshal(data, &found); err != nil {
		return damaged(jsonError(err))
	}
	for _, v := range []struct {
		of          string
		found, want int
	}{
		{"guest", found.Snapshot.Versions.Guest, GuestVersion},
		{"memory", found.Snapshot.Versions.Memory, MemoryVersion},
		{"config", found.Snapshot.Versions.Config, ConfigVersion},
	} {
		if v.found != v.want {
			return fmt.Errorf("version %d of %q, but this kapsel (%s) has version %d: use the release that took the snapshot (%.20q), or take it anew",
				v.found, v.of, abi.Version, v.want, found.Snapshot.Release)
		}
	}
	return nil
}

// checkShape looks whether JSON can be decoded, and what was decoded be encoded again, in little memory.
func checkShape(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	depth := 0
	for tokens := 0; ; tokens++ {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return jsonError(err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth || tokens >= maxTokens {
			return fmt.Errorf("more than %d names and values, or %d structures in each other", maxTokens, maxDepth)
		}
	}
}

// difference says where a configuration begins to be another one than would have been written.
func difference(found, want []byte) error {
	at := 0
	for at < min(len(found), len(want)) && found[at] == want[at] {
		at++
	}
	line := 1 + bytes.Count(found[:at], []byte("\n"))
	return fmt.Errorf("line %d is %s, where %s was expected", line, lineAt(found, at), lineAt(want, at))
}

// lineAt is the line of a text around an offset, quoted and cut off where it is long.
func lineAt(text []byte, at int) string {
	start := bytes.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := bytes.Cut(text[start:], []byte("\n"))
	return fmt.Sprintf("%.80q", bytes.TrimSpace(line))
}

// jsonError says what is wrong with JSON: package json quotes at most a character or a number of it.
func jsonError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("field %.80q: found a %.40s at byte %d, where %v was expected", wrong.Field, wrong.Value, wrong.Offset, wrong.Type)
	}
	return fmt.Errorf("no JSON as kapsel writes it: %.200v", err)
}
