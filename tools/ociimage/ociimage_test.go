package ociimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unpack returns the files of an archive by name, and fails where a file stands before its directory.
func unpack(t testing.TB, b []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		require.NoError(t, err)
		require.True(t, h.ModTime.Equal(epoch), h.Name)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		files[h.Name] = content
	}
}

// blob returns what a descriptor is of, and checks it.
func blob(t testing.TB, files map[string][]byte, d oci.Descriptor) []byte {
	t.Helper()
	b, ok := files["blobs/sha256/"+d.Digest.Encoded()]
	require.True(t, ok, d.Digest)
	require.Equal(t, digest.FromBytes(b), d.Digest)
	require.EqualValues(t, len(b), d.Size)
	return b
}

// archived is the archive of an image of two tasks, with words.
func archived(t testing.TB) []byte {
	t.Helper()
	m, err := Kapsel("localhost/two:1", &File{Path: "k.elf", Content: []byte("kernel")},
		[]File{{Path: "one.tbf", Content: []byte("1")}, {Path: "two.tbf", Content: []byte("2")}}, map[string]string{"memory": "32M"})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, m.Write(&b))
	return b.Bytes()
}

// TestKapselImage: an image's digests hold, and its annotations and the file in it say the same.
func TestKapselImage(t *testing.T) {
	files := unpack(t, archived(t))
	assert.JSONEq(t, `{"imageLayoutVersion":"1.0.0"}`, string(files["oci-layout"]))
	var index oci.Index
	require.NoError(t, json.Unmarshal(files["index.json"], &index))
	require.Len(t, index.Manifests, 1)
	assert.Equal(t, "localhost/two:1", index.Manifests[0].Annotations[oci.AnnotationRefName])
	var manifest oci.Manifest
	require.NoError(t, json.Unmarshal(blob(t, files, index.Manifests[0]), &manifest))
	assert.Equal(t, map[string]string{"org.kapsel.kernel": "/k.elf", "org.kapsel.tasks": "/one.tbf /two.tbf", "org.kapsel.memory": "32M"}, manifest.Annotations)
	var config oci.Image
	require.NoError(t, json.Unmarshal(blob(t, files, manifest.Config), &config))
	assert.Equal(t, []string{"/one.tbf"}, config.Config.Entrypoint)
	require.Len(t, manifest.Layers, 1)
	assert.Equal(t, []digest.Digest{manifest.Layers[0].Digest}, config.RootFS.DiffIDs, "the layer is not compressed")
	layer := unpack(t, blob(t, files, manifest.Layers[0]))
	assert.Equal(t, "kernel", string(layer["k.elf"]))
	assert.Equal(t, "2", string(layer["two.tbf"]))
	assert.JSONEq(t, `{"kernel":"/k.elf","tasks":"/one.tbf /two.tbf","memory":"32M"}`, string(layer["kapsel.json"]))
}

// TestSameBytes: an image is a function of what is in it.
func TestSameBytes(t *testing.T) {
	assert.Equal(t, digest.FromBytes(archived(t)), digest.FromBytes(archived(t)))
}

// TestImageRefused: what cannot be an image, with the word by which its error says why.
func TestImageRefused(t *testing.T) {
	for name, c := range map[string]struct {
		tasks []File
		want  string
	}{
		"nothing":   {nil, "want one task or more"},
		"twice":     {[]File{{Path: "a.tbf"}, {Path: "a.tbf"}}, "rename one"},
		"space":     {[]File{{Path: "a b.tbf"}}, "without spaces"},
		"outside":   {[]File{{Path: "../a.tbf"}}, "below the root"},
		"ours":      {[]File{{Path: "kapsel.json"}}, "rename one"},
		"absolute":  {[]File{{Path: "/a.tbf"}}, "below the root"},
		"directory": {[]File{{Path: "."}}, "below the root"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Kapsel("localhost/x:1", nil, c.tasks, nil)
			if err == nil {
				err = m.Write(io.Discard)
			}
			assert.ErrorContains(t, err, c.want)
		})
	}
}
