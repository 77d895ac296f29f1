package snapshot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"kapsel/files"
	"kapsel/guest/abi"
)

// blobs is where the layout has its blobs, by their digests (OCI Image Layout, "Blobs").
const blobs = "blobs/sha256"

// Save writes the snapshot to the directory dir, an OCI image layout with the tag "snapshot". It is written aside, in the directory that dir is in, and put in the place of
// dir when all of it is on disk: at any instant dir is what it was, or the whole new snapshot. What may be there already is an empty directory or a snapshot,
// which is removed; anything else is an error. A process that ends meanwhile may leave a directory .kapsel-snapshot-* beside. Only the owner may read a snapshot, as a guest's memory may hold secrets.
func (s *Snapshot) Save(dir string) error {
	if err := s.save(filepath.Clean(dir)); err != nil {
		return fmt.Errorf("saving the snapshot as %q: %s", dir, files.Words(err))
	}
	return nil
}

// save is Save with errors that do not name dir.
func (s *Snapshot) save(dir string) error {
	if err := s.Memory.Use(); err != nil {
		return err
	}
	defer s.Memory.Release()
	if s.Memory.Len() != s.State.Guest.Memory {
		return fmt.Errorf("it has a memory of %d bytes, and a state that says %d", s.Memory.Len(), s.State.Guest.Memory)
	}
	if n := len(s.State.PrivateDisks()); n != len(s.Disks) {
		return fmt.Errorf("it has what was written to %d private disks, and a state that says %d", len(s.Disks), n)
	}
	if err := replaceable(dir); err != nil {
		return err
	}
	aside, err := os.MkdirTemp(filepath.Dir(dir), ".kapsel-snapshot-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	if err := s.write(aside); err != nil {
		return err
	}
	if err := replace(dir, aside); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(dir))
}

// replaceable is nil if there is nothing in dir but what Save may remove.
func replaceable(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("it is there, and no directory: name another, or remove it")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	l, err := open(dir)
	if err != nil {
		return notSnapshot(err)
	}
	defer l.Close()
	m, err := l.manifest()
	if err != nil {
		return notSnapshot(err)
	}
	return l.only(m)
}

// notSnapshot says that Save would have to remove something else than a snapshot.
func notSnapshot(err error) error {
	return fmt.Errorf("it is there, and no snapshot (%w): name another, or remove it", err)
}

// replace puts the directory aside in the place of dir, and what was there, if anything, in the place of aside.
func replace(dir, aside string) error {
	err := unix.Rename(aside, dir) // also if dir is empty
	if err != unix.ENOTEMPTY && err != unix.EEXIST {
		return wrap("putting it in its place", err)
	}
	return wrap("exchanging it with the older one, which this file system may not do: name another directory", unix.Renameat2(unix.AT_FDCWD, aside, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE))
}

// wrap says what failed, if something did.
func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// write writes the layout to a new directory, and has the host write all of it to the disk.
func (s *Snapshot) write(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, blobs), 0o700); err != nil {
		return err
	}
	layers, err := s.writeLayers(dir)
	if err != nil {
		return err
	}
	configuration, err := writeBlob(dir, oci.MediaTypeImageConfig, newConfig(&s.State, abi.Version, digests(layers)), maxConfig)
	if err != nil {
		return fmt.Errorf("the state: %w: take the snapshot when fewer requests are in the devices' queues", err)
	}
	manifest, err := writeBlob(dir, oci.MediaTypeImageManifest, &oci.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: configuration, Layers: layers,
	}, maxManifest)
	if err != nil {
		return err
	}
	manifest.ArtifactType = artifactType
	manifest.Annotations = map[string]string{oci.AnnotationRefName: tag}
	if err := writeJSON(filepath.Join(dir, oci.ImageIndexFile), &oci.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageIndex, Manifests: []oci.Descriptor{manifest},
	}); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, oci.ImageLayoutFile), &oci.ImageLayout{Version: oci.ImageLayoutVersion}); err != nil {
		return err
	}
	for _, d := range []string{blobs, oci.ImageBlobsDir, "."} {
		if err := syncDirectory(filepath.Join(dir, d)); err != nil {
			return err
		}
	}
	return nil
}

// writeLayers writes the layer of memory, and one of each private disk.
func (s *Snapshot) writeLayers(dir string) (layers []oci.Descriptor, err error) {
	memory, err := writeLayer(dir, memoryType, func(w io.Writer) error { return writePages(w, s.Memory) })
	if err != nil {
		return nil, err
	}
	layers = append(layers, memory)
	for _, l := range s.Disks {
		written, err := writeLayer(dir, diskType, func(w io.Writer) error { return writeDisk(w, l) })
		if err != nil {
			return nil, err
		}
		layers = append(layers, written)
	}
	return layers, nil
}

// writeLayer writes a layer. Its name is known when it is written.
func writeLayer(dir, mediaType string, write func(io.Writer) error) (oci.Descriptor, error) {
	hash := sha256.New()
	counter := &counter{}
	path := filepath.Join(dir, blobs, "layer")
	err := create(path, func(w io.Writer) error { return write(io.MultiWriter(w, hash, counter)) })
	if err != nil {
		return oci.Descriptor{}, err
	}
	d := oci.Descriptor{MediaType: mediaType, Digest: digest.NewDigest(digest.SHA256, hash), Size: counter.bytes}
	return d, os.Rename(path, filepath.Join(dir, blobs, d.Digest.Encoded()))
}

// digests are those of layers.
func digests(layers []oci.Descriptor) (all []digest.Digest) {
	for i := range layers {
		all = append(all, layers[i].Digest)
	}
	return all
}

// counter counts what is written to it.
type counter struct{ bytes int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return len(p), nil
}

// writeBlob writes a blob of JSON that Load would read.
func writeBlob(dir, mediaType string, v any, limit int) (oci.Descriptor, error) {
	data, err := encode(v)
	if err != nil {
		return oci.Descriptor{}, err
	}
	if len(data) > limit {
		return oci.Descriptor{}, fmt.Errorf("%d bytes, where at most %d are kept", len(data), limit)
	}
	if err := checkShape(data); err != nil {
		return oci.Descriptor{}, err
	}
	d := oci.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return d, write(filepath.Join(dir, blobs, d.Digest.Encoded()), data)
}

// writeJSON writes a file of JSON.
func writeJSON(path string, v any) error {
	data, err := encode(v)
	if err != nil {
		return err
	}
	return write(path, data)
}

// write makes a file of bytes.
func write(path string, data []byte) error {
	return create(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// create makes a file that only its owner may read, of what fill writes, and has the host write it to the disk.
func create(path string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// sync has the host write a directory's entries to the disk.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
