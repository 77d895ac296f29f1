package snapshot

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	oci "github.com/opencontainers/image-spec/specs-go/v1"

	"kapsel/files"
	"kapsel/guest/abi"
	"kapsel/vmm/disk"
)

// maxMemory is the most memory of a machine (vmm.MaxMemory), in bytes.
const maxMemory = 1 << 40

// Load reads the snapshot in the directory dir: one that Save wrote, or that a tool for OCI images copied. The memory is read once, from its start to its end, into a memfd, and
// each file is held against its size and digest. What is damaged, of another version, or of another vendor's processor is an error of one line that says what differs and what to do.
// The state is such as could have been saved, and is checked against the devices and the processor where it is restored.
func Load(dir string) (*Snapshot, error) {
	s, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("loading the snapshot %q: %s", dir, files.Words(err))
	}
	return s, nil
}

// load is Load with errors that do not name dir.
func load(dir string) (*Snapshot, error) {
	l, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	manifest, err := l.manifest()
	if err != nil {
		return nil, err
	}
	state, err := l.state(manifest)
	if err != nil {
		return nil, err
	}
	disks, err := l.disks(manifest, state)
	if err != nil {
		return nil, err
	}
	memory, err := l.memory(manifest.Layers[0], state.Guest.Memory)
	if err != nil {
		return nil, err
	}
	return &Snapshot{State: *state, Memory: memory, Disks: disks}, nil
}

// layout is an OCI image layout that is read: nothing outside of its directory.
type layout struct{ *os.Root }

// open opens a layout whose version is known.
func open(dir string) (*layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	l := &layout{root}
	var version oci.ImageLayout
	if err = l.json(oci.ImageLayoutFile, &version); err == nil && version.Version != oci.ImageLayoutVersion {
		err = fmt.Errorf("%s: version %.20q of the OCI image layout, where %q was expected: copy it with a tool for that version", oci.ImageLayoutFile, version.Version, oci.ImageLayoutVersion)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return l, nil
}

// file opens a regular file of at most limit bytes, and gives its size. What is something else is not opened: a pipe may have no end.
func (l *layout) file(name string, limit int64) (*os.File, int64, error) {
	info, err := l.Lstat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: no regular file (%v): copy the snapshot again", name, info.Mode().Type())
	}
	if info.Size() > limit {
		return nil, 0, damaged(fmt.Errorf("%s: %d bytes, where at most %d were expected", name, info.Size(), limit))
	}
	f, err := l.Open(name)
	return f, info.Size(), err
}

// damaged says what to do about what is wrong with a file that was right once.
func damaged(err error) error {
	return fmt.Errorf("%w: it is damaged: copy the snapshot again, or take it anew", err)
}

// read reads a small file.
func (l *layout) read(name string, limit int64) ([]byte, error) {
	f, _, err := l.file(name, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// json reads one of the layout's own files.
func (l *layout) json(name string, v any) error {
	data, err := l.read(name, maxManifest)
	if err != nil {
		return err
	}
	return parse(name, data, v)
}

// parse reads JSON of the name.
func parse(name string, data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return damaged(fmt.Errorf("%s: %w", name, jsonError(err)))
	}
	return nil
}

// blobPath is where a blob lies whose descriptor may be anything.
func blobPath(d *oci.Descriptor) (string, error) {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return "", damaged(fmt.Errorf("digest %.80q is none of SHA-256", d.Digest))
	}
	return path.Join(blobs, d.Digest.Encoded()), nil
}

// open opens the blob of a descriptor, which has the size that it should have.
func (l *layout) blob(d *oci.Descriptor, limit int64) (*os.File, string, error) {
	name, err := blobPath(d)
	if err != nil {
		return nil, "", err
	}
	f, size, err := l.file(name, limit)
	if err != nil {
		return nil, "", err
	}
	if size != d.Size {
		f.Close()
		return nil, "", damaged(fmt.Errorf("%s: %d bytes, where %d were expected", name, size, d.Size))
	}
	return f, name, nil
}

// readBlob reads a blob of JSON, whose digest is right.
func (l *layout) readBlob(d *oci.Descriptor, limit int64) ([]byte, string, error) {
	f, name, err := l.blob(d, limit)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, d.Size))
	if err == nil {
		err = checkDigest(d, digest.FromBytes(data))
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	return data, name, nil
}

// checkDigest compares the digest that a blob has with the one that it should have.
func checkDigest(d *oci.Descriptor, found digest.Digest) error {
	if found != d.Digest {
		return damaged(fmt.Errorf("its digest is %s", found))
	}
	return nil
}

// manifest reads the manifest of the one snapshot in the layout. It has a layer of memory, and behind that those of disks.
func (l *layout) manifest() (*oci.Manifest, error) {
	var index oci.Index
	if err := l.json(oci.ImageIndexFile, &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("%s: names %d manifests, where that of one snapshot was expected: copy the one that you want to a directory of its own", oci.ImageIndexFile, len(index.Manifests))
	}
	data, name, err := l.readBlob(&index.Manifests[0], maxManifest)
	if err != nil {
		return nil, err
	}
	var m oci.Manifest
	if err := parse(name, data, &m); err != nil {
		return nil, err
	}
	for _, f := range []struct{ of, found, want string }{
		{"artifactType", m.ArtifactType, artifactType},
		{"mediaType of config", m.Config.MediaType, oci.MediaTypeImageConfig},
		{"layers", mediaTypes(m.Layers), memoryType + strings.Repeat(" "+diskType, max(len(m.Layers), 1)-1)},
	} {
		if f.found != f.want {
			return nil, fmt.Errorf("%s: its %s is %.150q, where %.150q was expected: name a directory that holds a snapshot of Kapsel", name, f.of, f.found, f.want)
		}
	}
	return &m, nil
}

// mediaTypes are the types of a manifest's layers.
func mediaTypes(layers []oci.Descriptor) string {
	var types []string
	for i := range layers {
		types = append(types, layers[i].MediaType)
	}
	return strings.Join(types, " ")
}

// state reads the configuration of a manifest.
func (l *layout) state(m *oci.Manifest) (*State, error) {
	data, name, err := l.readBlob(&m.Config, maxConfig)
	if err != nil {
		return nil, err
	}
	state, err := decodeConfig(data, digests(m.Layers))
	if err == nil {
		err = checkGuest(&state.Guest)
	}
	if err == nil && len(state.Devices) > abi.VirtioPlaces {
		err = fmt.Errorf("%d devices, where at most %d were expected: take the snapshot anew", len(state.Devices), abi.VirtioPlaces)
	}
	if err == nil && len(state.PrivateDisks()) != len(m.Layers)-1 {
		err = damaged(fmt.Errorf("%d private disks, beside %d layers of such", len(state.PrivateDisks()), len(m.Layers)-1))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return state, nil
}

// checkGuest looks whether the guest could run on this host.
func checkGuest(g *Guest) error {
	if g.Memory == 0 || g.Memory > maxMemory || g.Memory%abi.PageSize != 0 {
		return fmt.Errorf("memory of %d bytes, where pages of %d bytes, up to %d, were expected: take the snapshot anew", g.Memory, abi.PageSize, uint64(maxMemory))
	}
	vendor, err := hostVendor()
	if err != nil {
		return err
	}
	if g.Vendor != vendor {
		return fmt.Errorf("it was taken on a processor of %.20q, and this host's is of %q: load it on a host with such a processor, or take it anew here", g.Vendor, vendor)
	}
	return nil
}

// memory reads the layer of RAM of a size.
func (l *layout) memory(d oci.Descriptor, size uint64) (*Memory, error) {
	f, name, err := l.blob(&d, int64(bitmapSize(size)+size))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	memory, err := readMemory(f, &d, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return memory, nil
}

// disks reads the layers of the private disks, of which there is one for each.
func (l *layout) disks(m *oci.Manifest, s *State) (disks []*disk.Layer, err error) {
	for i, b := range s.PrivateDisks() {
		layer, err := l.disk(&m.Layers[1+i], b.Sectors)
		if err != nil {
			return nil, err
		}
		disks = append(disks, layer)
	}
	return disks, nil
}

// disk reads the layer of a private disk.
func (l *layout) disk(d *oci.Descriptor, sectors uint64) (*disk.Layer, error) {
	f, name, err := l.blob(d, int64(layerSize(pagesOfDisk(sectors))))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	layer, err := readDisk(io.TeeReader(f, hash), uint64(d.Size), sectors)
	if err != nil {
		err = damaged(err)
	} else {
		err = checkDigest(d, digest.NewDigest(digest.SHA256, hash))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return layer, nil
}

// readMemory reads the layer from its file. What has another digest is thrown away when all of it was read.
func readMemory(r io.Reader, d *oci.Descriptor, size uint64) (*Memory, error) {
	hash := sha256.New()
	r = io.TeeReader(r, hash)
	bitmap, err := readBitmap(r, uint64(d.Size), size)
	if err != nil {
		return nil, damaged(err)
	}
	return NewMemory(size, func(ram io.WriterAt) error {
		if err := readPages(r, bitmap, ram); err != nil {
			return err
		}
		return checkDigest(d, digest.NewDigest(digest.SHA256, hash))
	})
}

// only is nil if there is nothing in the layout but the snapshot of a manifest, and its manifest.
func (l *layout) only(m *oci.Manifest) error {
	known := []string{".", oci.ImageLayoutFile, oci.ImageIndexFile, oci.ImageBlobsDir, blobs}
	var index oci.Index
	if err := l.json(oci.ImageIndexFile, &index); err != nil {
		return err
	}
	for _, d := range slices.Concat(index.Manifests, []oci.Descriptor{m.Config}, m.Layers) {
		name, err := blobPath(&d)
		if err != nil {
			return err
		}
		known = append(known, name)
	}
	return fs.WalkDir(l.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err == nil && !slices.Contains(known, name) {
			err = fmt.Errorf("it is there, and has %q beside a snapshot: name another, or remove it", name)
		}
		return err
	})
}
