package snapshot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

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
	p, err := Prepare(dir)
	if err != nil {
		return err
	}
	return errors.Join(p.Save(s), p.Close())
}

// Place is where a snapshot is to be saved. Between Prepare and Save a process may confine itself (package kapsel/vmm/confine) to what Save does: it makes, writes, reads and removes files
// and directories in those of Written, and renames directories in that of Above.
type Place struct {
	dir     string
	aside   string   // empty, to be put in the place of dir
	above   *os.File // the directory that both are in
	written []string

	saving sync.Mutex
	closed atomic.Bool
}

// errClosed is the error of a Save whose Place is closed.
var errClosed = errors.New("it was given up")

// Prepare looks whether Snapshot.Save could write to dir, and makes the directory beside it. Close removes that. Close may be called while Save is at work, the others may not.
func Prepare(dir string) (*Place, error) {
	p := &Place{dir: filepath.Clean(dir)}
	if err := p.prepare(); err != nil {
		return nil, errors.Join(p.wrong(err), p.Close())
	}
	return p, nil
}

func (p *Place) prepare() (err error) {
	switch filepath.Base(p.dir) {
	case ".", "..", "/":
		return errors.New("another directory is put in its place: want a path that ends with its name, as ../NAME")
	}
	if err := replaceable(p.dir); err != nil {
		return err
	}
	if _, err := os.Lstat(p.dir); err == nil {
		p.written = append(p.written, p.dir)
	}
	if p.above, err = os.Open(filepath.Dir(p.dir)); err != nil {
		return err
	}
	if p.aside, err = os.MkdirTemp(filepath.Dir(p.dir), ".kapsel-snapshot-"); err != nil {
		return err
	}
	p.written = append(p.written, p.aside)
	return nil
}

// wrong says what an error was about.
func (p *Place) wrong(err error) error {
	return fmt.Errorf("saving the snapshot as %q: %s", p.dir, files.Words(err))
}

// Written are the directories whose files are made, written, read and removed, and so is what is below.
func (p *Place) Written() []string { return p.written }

// Above is the directory in which directories are renamed.
func (p *Place) Above() string { return filepath.Dir(p.dir) }

// Save writes a snapshot there, as Snapshot.Save does; once.
func (p *Place) Save(s *Snapshot) error {
	p.saving.Lock()
	defer p.saving.Unlock()
	if err := p.save(s); err != nil {
		return p.wrong(err)
	}
	return nil
}

// Close removes what was not put in its place, or what that has replaced. A Save that is at work writes nothing more, and fails, unless it has put the snapshot in its place: Close waits
// for that, and for what the host writes to the disk then.
func (p *Place) Close() error {
	p.closed.Store(true)
	p.saving.Lock()
	defer p.saving.Unlock()
	var errs []error
	if p.aside != "" {
		errs = append(errs, removeAll(p.aside))
	}
	if p.above != nil {
		errs = append(errs, p.above.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing what is left beside the snapshot %q: %s", p.dir, files.Words(err))
	}
	return nil
}

// removeAll removes a directory, if it is there. Other than os.RemoveAll it reads none above, which a confined process may not.
func removeAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(append(errs, os.Remove(dir))...)
}

// save is Save with errors that do not name the directory.
func (p *Place) save(s *Snapshot) error {
	if p.closed.Load() {
		return errClosed
	}
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
	if err := p.write(s); err != nil {
		return err
	}
	if err := replaceable(p.dir); err != nil { // still
		return err
	}
	if p.closed.Load() {
		return errClosed
	}
	if err := replace(p.dir, p.aside); err != nil {
		return err
	}
	return p.above.Sync()
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

// write writes the layout to the new directory, and has the host write all of it to the disk.
func (p *Place) write(s *Snapshot) error {
	dir := p.aside
	if err := os.MkdirAll(filepath.Join(dir, blobs), 0o700); err != nil {
		return err
	}
	layers, err := p.writeLayers(s)
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
func (p *Place) writeLayers(s *Snapshot) (layers []oci.Descriptor, err error) {
	memory, err := p.writeLayer(memoryType, func(w io.Writer) error { return writePages(w, s.Memory) })
	if err != nil {
		return nil, err
	}
	layers = append(layers, memory)
	for _, l := range s.Disks {
		written, err := p.writeLayer(diskType, func(w io.Writer) error { return writeDisk(w, l) })
		if err != nil {
			return nil, err
		}
		layers = append(layers, written)
	}
	return layers, nil
}

// writeLayer writes a layer. Its name is known when it is written.
func (p *Place) writeLayer(mediaType string, write func(io.Writer) error) (oci.Descriptor, error) {
	hash := sha256.New()
	counter := &counter{closed: &p.closed}
	path := filepath.Join(p.aside, blobs, "layer")
	err := create(path, func(w io.Writer) error { return write(io.MultiWriter(counter, w, hash)) })
	if err != nil {
		return oci.Descriptor{}, err
	}
	d := oci.Descriptor{MediaType: mediaType, Digest: digest.NewDigest(digest.SHA256, hash), Size: counter.bytes}
	return d, os.Rename(path, filepath.Join(p.aside, blobs, d.Digest.Encoded()))
}

// digests are those of layers.
func digests(layers []oci.Descriptor) (all []digest.Digest) {
	for i := range layers {
		all = append(all, layers[i].Digest)
	}
	return all
}

// counter counts what is written to it, until its place is closed.
type counter struct {
	bytes  int64
	closed *atomic.Bool
}

func (c *counter) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, errClosed
	}
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
