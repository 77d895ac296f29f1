// Package ociimage writes images of the OCI Image Format Specification 1.1 as one file: an archive of an image layout, which engines load without a registry
// (podman load, ctr image import). The file that docker load looks for is in it, too. The same content gives the same bytes.
package ociimage

import (
	"archive/tar"
	"bytes"
	_ "crypto/sha256" // the digest that package digest looks up
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image of one layer, for Linux on amd64.
type Image struct {
	Name        string // by which engines know it, as localhost/hello:1
	Files       []File
	Entrypoint  []string
	Labels      map[string]string
	Annotations map[string]string // of the manifest
}

// File is a file of the layer, which anybody may read.
type File struct {
	Path    string // within the root file system, without a slash in front
	Content []byte
	Program bool // anybody may run it
}

// epoch is the time of all there is in an image.
var epoch = time.Unix(0, 0).UTC()

// Write writes the image's archive.
func (m *Image) Write(w io.Writer) error {
	layer, err := m.layer()
	if err != nil {
		return err
	}
	var blobs []File
	config, err := addJSON(&blobs, oci.MediaTypeImageConfig, m.config(layer))
	if err != nil {
		return err
	}
	content := add(&blobs, oci.MediaTypeImageLayer, layer)
	manifest, err := addJSON(&blobs, oci.MediaTypeImageManifest, oci.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageManifest, Config: config,
		Layers: []oci.Descriptor{content}, Annotations: m.Annotations,
	})
	if err != nil {
		return err
	}
	manifest.Annotations = map[string]string{oci.AnnotationRefName: m.Name}
	index, err := json.Marshal(oci.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageIndex, Manifests: []oci.Descriptor{manifest}})
	if err != nil {
		return err
	}
	version, err := json.Marshal(oci.ImageLayout{Version: oci.ImageLayoutVersion})
	if err != nil {
		return err
	}
	docker, err := json.Marshal([]dockerManifest{{Config: blobPath(config.Digest), RepoTags: []string{m.Name}, Layers: []string{blobPath(content.Digest)}}})
	if err != nil {
		return err
	}
	return archive(w, append(blobs,
		File{Path: oci.ImageIndexFile, Content: index}, File{Path: oci.ImageLayoutFile, Content: version}, File{Path: dockerFile, Content: docker}))
}

// dockerFile is the file of an archive by which docker load knows images (moby/moby, image/tarexport), and dockerManifest one of them.
const dockerFile = "manifest.json"

type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// config is the image's configuration.
func (m *Image) config(layer []byte) oci.Image {
	return oci.Image{
		Created:  &epoch,
		Platform: oci.Platform{Architecture: "amd64", OS: "linux"},
		Config:   oci.ImageConfig{Entrypoint: m.Entrypoint, Labels: m.Labels},
		RootFS:   oci.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	}
}

// layer is the layer, not compressed: how well a compressor does would be a part of the image.
func (m *Image) layer() ([]byte, error) {
	seen := map[string]bool{}
	for _, f := range m.Files {
		switch {
		case f.Path != path.Clean(f.Path) || path.IsAbs(f.Path) || f.Path == "." || strings.HasPrefix(f.Path, ".."):
			return nil, fmt.Errorf("%q: want a path below the root, as hello.tbf", f.Path)
		case seen[f.Path]:
			return nil, fmt.Errorf("two files would be %q in the image: rename one", f.Path)
		}
		seen[f.Path] = true
	}
	var b bytes.Buffer
	err := archive(&b, m.Files)
	return b.Bytes(), err
}

// addJSON adds v as a blob.
func addJSON(blobs *[]File, mediaType string, v any) (oci.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return add(blobs, mediaType, b), nil
}

// add adds content as a blob of that type and describes it.
func add(blobs *[]File, mediaType string, content []byte) oci.Descriptor {
	d := digest.FromBytes(content)
	*blobs = append(*blobs, File{Path: blobPath(d), Content: content})
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

// blobPath is the path of a blob.
func blobPath(d digest.Digest) string {
	return path.Join(oci.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// archive writes the files in their order, each after the directories that it is the first to need.
func archive(w io.Writer, files []File) error {
	t := tar.NewWriter(w)
	made := map[string]bool{}
	for _, f := range files {
		for i := range len(f.Path) {
			if dir := f.Path[:i]; f.Path[i] == '/' && !made[dir] {
				made[dir] = true
				if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: epoch}); err != nil {
					return err
				}
			}
		}
		mode := int64(0o644)
		if f.Program {
			mode = 0o755
		}
		err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Size: int64(len(f.Content)), Mode: mode, ModTime: epoch})
		if err != nil {
			return err
		}
		if _, err := t.Write(f.Content); err != nil {
			return err
		}
	}
	return t.Close()
}

// kapselFile is the file of the root file system that says what Kapsel runs, for engines that do not hand annotations of images on: names and values as those
// of the annotations, without prefix.
const (
	kapselFile = "kapsel.json"
	prefix     = "org.kapsel."
)

// Kapsel makes an image of tasks (.tbf, .tab), whose files the first part of its files are, and of a kernel, which may be nil for the one that comes with
// the command. words are further names and values for Kapsel, as memory and 32M (docs/kubernetes.md).
func Kapsel(name string, kernel *File, tasks []File, words map[string]string) (*Image, error) {
	if len(tasks) == 0 && kernel == nil {
		return nil, errors.New("nothing to run: want one task or more, or a kernel")
	}
	m := &Image{Name: name, Files: append([]File(nil), tasks...), Annotations: map[string]string{}}
	all := map[string]string{}
	for word, value := range words {
		all[word] = value
	}
	if kernel != nil {
		m.Files = append(m.Files, *kernel)
		all["kernel"] = "/" + kernel.Path
	}
	var paths []string
	for _, t := range tasks {
		if strings.ContainsAny(t.Path, " \t\n") {
			return nil, fmt.Errorf("%q: want a name without spaces, which divide the names of tasks", t.Path)
		}
		paths = append(paths, "/"+t.Path)
	}
	if len(paths) > 0 {
		all["tasks"] = strings.Join(paths, " ")
	}
	m.Entrypoint = []string{"/" + m.Files[0].Path} // engines want one; the words come first
	for word, value := range all {
		m.Annotations[prefix+word] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	m.Files = append(m.Files, File{Path: kapselFile, Content: append(text, '\n')})
	return m, nil
}
