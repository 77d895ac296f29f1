package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm/disk"
)

var update = flag.Bool("update", false, "write testdata anew")

const sampleVendor = "GenuineKapsel"

// onSampleHost has a test run as if on a host with the sample's processor.
func onSampleHost(t testing.TB) {
	real := hostVendor
	hostVendor = func() (string, error) { return sampleVendor, nil }
	t.Cleanup(func() { hostVendor = real })
}

// sampleSectors is the size of the sample's private disk.
const sampleSectors = 5 * disk.PageSize / disk.SectorSize

// sample is a snapshot in which no field is zero, of memory with some pages, and of a private disk with those of them that it has.
func sample(t testing.TB, pages uint64, used ...uint64) *Snapshot {
	s := new(Snapshot)
	next := uint64(0)
	fill(reflect.ValueOf(&s.State).Elem(), &next)
	s.State.Taken = time.Date(2026, 11, 29, 12, 30, 15, 123456789, time.UTC)
	s.State.Guest.Memory = pages * abi.PageSize
	s.State.Guest.Vendor = sampleVendor
	memory, err := NewMemory(s.State.Guest.Memory, func(ram io.WriterAt) error {
		for _, page := range used {
			if _, err := ram.WriteAt([]byte{byte(page%255 + 1)}, int64(page*abi.PageSize+page%abi.PageSize)); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	s.Memory = memory
	block := s.State.Devices[1].State.Block
	block.Sectors, block.ReadOnly = sampleSectors, false
	layer := map[uint64]*disk.Page{}
	for _, page := range used {
		if page < sampleSectors*disk.SectorSize/disk.PageSize {
			layer[page] = &disk.Page{0: byte(page%255 + 1), disk.SectorSize - 1: 7}
		}
	}
	s.Disks = []*disk.Layer{disk.NewLayer(layer)}
	t.Cleanup(func() { s.Close() })
	return s
}

// fill gives each field of a structure another value.
func fill(v reflect.Value, next *uint64) {
	*next++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), next)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), next)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), next)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), next)
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *next))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*next % 120))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(*next % 250)
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

// assertSame compares two snapshots.
func assertSame(t *testing.T, want, found *Snapshot) {
	t.Helper()
	assert.Equal(t, want.State, found.State)
	assert.True(t, bytes.Equal(ram(t, want), ram(t, found)), "the memory differs")
	require.Len(t, found.Disks, len(want.Disks))
	for i := range want.Disks {
		assert.Equal(t, maps.Collect(want.Disks[i].Pages()), maps.Collect(found.Disks[i].Pages()), "a disk differs")
	}
}

// ram reads a snapshot's memory.
func ram(t testing.TB, s *Snapshot) []byte {
	data, err := io.ReadAll(io.NewSectionReader(s.Memory, 0, int64(s.State.Guest.Memory)))
	require.NoError(t, err)
	require.Len(t, data, int(s.State.Guest.Memory))
	return data
}

func TestSaveAndLoad(t *testing.T) {
	onSampleHost(t)
	every := func(n, step uint64) (pages []uint64) {
		for page := uint64(0); page < n; page += step {
			pages = append(pages, page)
		}
		return pages
	}
	for _, test := range []struct {
		name  string
		pages uint64
		used  []uint64
	}{
		{"one page", 1, []uint64{0}},
		{"nothing but zeroes", 64, nil},
		{"the first and the last", 77, []uint64{0, 76}},
		{"every second", 513, every(513, 2)},
		{"all", 300, every(300, 1)},
		{"bitmap of more than a page", 40_001, every(40_001, 9999)},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "s")
			s := sample(t, test.pages, test.used...)
			require.NoError(t, s.Save(dir))
			loaded, err := Load(dir)
			require.NoError(t, err)
			defer loaded.Close()
			assertSame(t, s, loaded)
			layer := (&parts{}).read(t, dir).layer
			assert.Len(t, layer, int(bitmapSize(test.pages*abi.PageSize))+len(test.used)*abi.PageSize, "the layer has the pages that are not zero, and no other")
			assert.Zero(t, len(layer)%abi.PageSize)
		})
	}
}

// TestGolden: what Save writes is what testdata has, to the byte, and Load reads it. Who changes one of the versions, or State, writes it anew with -update.
func TestGolden(t *testing.T) {
	onSampleHost(t)
	golden := filepath.Join("testdata", "golden")
	s := sample(t, 21, 0, 3, 4, 20)
	dir := filepath.Join(t.TempDir(), "s")
	require.NoError(t, s.Save(dir))
	if *update {
		require.NoError(t, os.RemoveAll(golden))
		require.NoError(t, os.CopyFS(golden, os.DirFS(dir)))
	}
	assert.Equal(t, tree(t, golden), tree(t, dir), "the format changed: raise the version, and write testdata anew by go test ./vmm/snapshot -update")
	loaded, err := Load(golden)
	require.NoError(t, err)
	defer loaded.Close()
	assertSame(t, s, loaded)
}

// tree is all that is in a directory: the content of each file, by its name.
func tree(t *testing.T, dir string) map[string]string {
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() || !e.Type().IsRegular() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		data, err := os.ReadFile(path)
		files[name] = string(data)
		return err
	}))
	return files
}

// parts are the files of a snapshot. write makes a layout of them in which sizes and digests are right, whatever they hold, so that
// what is wrong with one is found by what it is.
type parts struct {
	layout, index, manifest, config, layer, disk []byte
}

// read reads the parts of a layout.
func (p *parts) read(t testing.TB, dir string) *parts {
	file := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return data
	}
	blob := func(d oci.Descriptor) []byte { return file(filepath.Join(blobs, d.Digest.Encoded())) }
	p.layout, p.index = file(oci.ImageLayoutFile), file(oci.ImageIndexFile)
	var index oci.Index
	require.NoError(t, json.Unmarshal(p.index, &index))
	p.manifest = blob(index.Manifests[0])
	var manifest oci.Manifest
	require.NoError(t, json.Unmarshal(p.manifest, &manifest))
	p.config, p.layer, p.disk = blob(manifest.Config), blob(manifest.Layers[0]), blob(manifest.Layers[1])
	return p
}

// write writes the parts to a new directory, with each descriptor of a part, where it stands as before in another, put right.
func (p *parts) write(t testing.TB, dir string, was *parts) {
	config := refer(refer(p.config, was.layer, p.layer), was.disk, p.disk)
	manifest := refer(refer(refer(p.manifest, was.layer, p.layer), was.disk, p.disk), was.config, config)
	index := refer(p.index, was.manifest, manifest)
	p.put(t, dir, index, manifest, config)
}

// put writes files under the names that they must have.
func (p *parts) put(t testing.TB, dir string, index, manifest, config []byte) {
	require.NoError(t, os.MkdirAll(filepath.Join(dir, blobs), 0o700))
	for name, data := range map[string][]byte{
		oci.ImageLayoutFile: p.layout, oci.ImageIndexFile: index,
		blobName(manifest): manifest, blobName(config): config, blobName(p.layer): p.layer, blobName(p.disk): p.disk,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
}

// refer puts right what a file says of another one that was changed.
func refer(file, was, is []byte) []byte {
	file = bytes.ReplaceAll(file, []byte(digest.FromBytes(was).Encoded()), []byte(digest.FromBytes(is).Encoded()))
	return bytes.ReplaceAll(file, fmt.Appendf(nil, `"size": %d`, len(was)), fmt.Appendf(nil, `"size": %d`, len(is)))
}

// blobName is the name of a blob.
func blobName(data []byte) string { return filepath.Join(blobs, digest.FromBytes(data).Encoded()) }

// refused loads what is damaged, or what may be if harmless: then it is the snapshot as it was.
func refused(t *testing.T, dir string, harmless func(*Snapshot)) string {
	t.Helper()
	s, err := Load(dir)
	if err == nil {
		defer s.Close()
		if harmless == nil {
			t.Error("it was loaded")
			return ""
		}
		harmless(s)
		return ""
	}
	checkWords(t, err)
	return err.Error()
}

// checkWords: an error is one line that a person can read.
func checkWords(t testing.TB, err error) {
	t.Helper()
	text := err.Error()
	assert.Less(t, len(text), 1000, "%.1000s", text)
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			t.Errorf("a control character in %q", text)
			break
		}
	}
}

// saved is a small snapshot on disk.
func saved(t testing.TB) (*Snapshot, string, *parts) {
	s := sample(t, 21, 0, 3, 4, 20)
	dir := filepath.Join(t.TempDir(), "s")
	require.NoError(t, s.Save(dir))
	return s, dir, new(parts).read(t, dir)
}

// TestDamagedBytes: any byte that is another one is found. In a file of the layout's own, which has no digest, it may be one that says nothing.
func TestDamagedBytes(t *testing.T) {
	onSampleHost(t)
	s, dir, p := saved(t)
	names := map[string][]byte{
		oci.ImageLayoutFile: p.layout, oci.ImageIndexFile: p.index,
		blobName(p.manifest): p.manifest, blobName(p.config): p.config, blobName(p.layer): p.layer, blobName(p.disk): p.disk,
	}
	for name, data := range names {
		path := filepath.Join(dir, name)
		step := 1 + len(data)/300
		for at := 0; at < len(data); at += step {
			for _, flip := range []byte{1, 0x80} {
				damaged := slices.Clone(data)
				damaged[at] ^= flip
				require.NoError(t, os.WriteFile(path, damaged, 0o600))
				var harmless func(*Snapshot)
				if filepath.Dir(name) == "." {
					harmless = func(found *Snapshot) { assertSame(t, s, found) }
				}
				refused(t, dir, harmless)
			}
		}
		require.NoError(t, os.WriteFile(path, data, 0o600))
	}
	refused(t, dir, func(found *Snapshot) { assertSame(t, s, found) })
}

// TestDamagedFields: each field of each file of JSON is removed, and is each of some values that it should not be, with all digests right.
// A state that could be one is loaded: whether it is one of this machine is for those to say who restore it.
func TestDamagedFields(t *testing.T) {
	onSampleHost(t)
	_, _, p := saved(t)
	for _, file := range []struct {
		name string
		of   func(*parts) *[]byte
	}{
		{"oci-layout", func(p *parts) *[]byte { return &p.layout }},
		{"index", func(p *parts) *[]byte { return &p.index }},
		{"manifest", func(p *parts) *[]byte { return &p.manifest }},
		{"config", func(p *parts) *[]byte { return &p.config }},
	} {
		t.Run(file.name, func(t *testing.T) {
			for what, damaged := range mutations(t, *file.of(p)) {
				changed := *p
				*file.of(&changed) = damaged
				load := func() (*Snapshot, error) { return loadParts(t, &changed, p) }
				if file.name == "config" { // thousands: without the disk
					load = func() (*Snapshot, error) { return loadConfig(damaged, p) }
				}
				s, err := load()
				if err != nil {
					checkWords(t, err)
					continue
				}
				checkHarmless(t, file.name, what, damaged)
				s.Close()
			}
		})
	}
}

// loadParts loads parts from a directory of their own.
func loadParts(t *testing.T, p, was *parts) (*Snapshot, error) {
	dir := filepath.Join(t.TempDir(), "s")
	defer os.RemoveAll(dir)
	p.write(t, dir, was)
	return Load(dir)
}

// loadConfig does what Load does with a configuration whose digest is right.
func loadConfig(data []byte, p *parts) (*Snapshot, error) {
	state, err := decodeConfig(data, []digest.Digest{digest.FromBytes(p.layer), digest.FromBytes(p.disk)})
	if err == nil {
		err = checkGuest(&state.Guest)
	}
	if err != nil {
		return nil, err
	}
	memory, err := NewMemory(abi.PageSize, func(io.WriterAt) error { return nil })
	return &Snapshot{State: *state, Memory: memory}, err
}

// checkHarmless: what was loaded although it was changed is what a snapshot of that state would have been, or is nothing that Load looks at.
func checkHarmless(t *testing.T, file, what string, damaged []byte) {
	if file != "config" {
		if strings.Contains(what, `"digest`) || strings.Contains(what, `"size`) {
			require.Regexp(t, " (twice|in capitals|beside an unknown one)$", what)
		}
		return
	}
	var c config
	require.NoError(t, json.Unmarshal(damaged, &c))
	canonical, err := encode(&c)
	require.NoError(t, err)
	if !assert.Equal(t, string(canonical), string(damaged), what) {
		t.FailNow()
	}
}

// mutations are JSON with one field damaged, by what was done.
func mutations(t *testing.T, data []byte) map[string][]byte {
	all := map[string][]byte{}
	lines := bytes.SplitAfter(data, []byte("\n"))
	seen := map[string]bool{} // fields, by their name and how deep they lie: those of one of several alike
	for i, line := range lines {
		name, value, isField := bytes.Cut(line, []byte(": "))
		at := fmt.Sprintf("line %d %.60s", i+1, bytes.TrimSpace(line))
		with := func(what string, line ...byte) {
			all[at+" "+what] = bytes.Join([][]byte{bytes.Join(lines[:i], nil), line, bytes.Join(lines[i+1:], nil)}, nil)
		}
		with("removed")
		with("twice", append(slices.Clone(line), line...)...)
		if !isField || seen[string(name)] {
			continue
		}
		seen[string(name)] = true
		comma := ""
		if bytes.HasSuffix(value, []byte(",\n")) {
			comma = ","
		}
		for _, other := range []string{
			"null", "-1", "0", "1.5", "1e400", "18446744073709551615", "18446744073709551616", strings.Repeat("9", 500), `""`, `"x\ny"`, `"\u0000"`,
			`"` + strings.Repeat("long", 500) + `"`, "[]", "{}", "true", `[{"a":1}]`, strings.Repeat("[", 20_000),
		} {
			with("= "+other[:min(len(other), 20)], append(slices.Clone(name), []byte(": "+other+comma+"\n")...)...)
		}
		with("in capitals", append(bytes.ToUpper(name), append([]byte(": "), value...)...)...)
		with("beside an unknown one", append([]byte("\"unknown\": 1,\n"), line...)...)
	}
	return all
}

// TestDamagedConfig: what is not as Save writes it is refused, whichever field it is, unless another value makes another state.
func TestDamagedConfig(t *testing.T) {
	onSampleHost(t)
	_, _, p := saved(t)
	for _, test := range []struct{ name, old, new, want string }{
		{"version of the guest", `"guest": 1`, `"guest": 7`, `version 7 of "guest", but this kapsel (` + abi.Version + `) has version 1: use the release that took the snapshot`},
		{"version of memory", `"memory": 1,`, `"memory": 2,`, `version 2 of "memory"`},
		{"version of the configuration", `"config": 2`, `"config": 1`, `version 1 of "config", but this kapsel (` + abi.Version + `) has version 2: use the release that took the snapshot`},
		{"a private disk fewer", `"readOnly": false`, `"readOnly": true`, "0 private disks, beside 1 layers of such: it is damaged"},
		{"a private disk more", `"readOnly": true`, `"readOnly": false`, "2 private disks, beside 1 layers of such: it is damaged"},
		{"a private disk too small", fmt.Sprintf(`"sectors": %d`, sampleSectors), `"sectors": 16`, "16384 bytes, where at most 12288 were expected"},
		{"vendor", sampleVendor, "AuthenticOther", `taken on a processor of "AuthenticOther", and this host's is of "GenuineKapsel": load it on a host with such a processor`},
		{"architecture", `"amd64"`, `"arm64"`, `"architecture\": \"arm64\",", where "\"architecture\": \"amd64\"," was expected`},
		{"memory of no page", fmt.Sprint(21 * abi.PageSize), "0", "memory of 0 bytes, where pages of 4096 bytes"},
		{"memory of half a page", fmt.Sprint(21 * abi.PageSize), "2048", "memory of 2048 bytes"},
		{"memory too large", fmt.Sprint(21 * abi.PageSize), "1099511631872", "memory of 1099511631872 bytes"},
		{"memory larger than the bitmap", fmt.Sprint(21 * abi.PageSize), "1099511627776", "but the bitmap of 1099511627776 bytes of memory alone has 33554432"},
		{"memory smaller than the pages", fmt.Sprint(21 * abi.PageSize), "81920", "the bitmap names page 20, but the memory has 20"},
		{"layer", digest.FromBytes(p.layer).Encoded(), strings.Repeat("0", 64), "sha256:0000"},
		{"another time", `"created": "2026-11-29`, `"created": "2026-11-28`, "where "},
		{"no JSON", `{`, `(`, "no JSON as kapsel writes it"},
		{"nothing", string(p.config), "", "no JSON as kapsel writes it"},
		{"null", string(p.config), "null", `version 0 of "guest"`},
		{"more behind it", string(p.config), string(p.config) + "{}", "after top-level value"},
		{"larger than a configuration", string(p.config), string(p.config) + strings.Repeat(" ", maxConfig), "at most 1048576 were expected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			changed := *p
			changed.config = []byte(strings.Replace(string(p.config), test.old, test.new, 1))
			require.NotEqual(t, p.config, changed.config)
			dir := filepath.Join(t.TempDir(), "s")
			manifest := refer(p.manifest, p.config, changed.config)
			changed.put(t, dir, refer(p.index, p.manifest, manifest), manifest, changed.config)
			assert.Contains(t, refused(t, dir, nil), test.want)
		})
	}
}

// A damagedLayer is a layer after a change, and what is said of it.
type damagedLayer struct {
	name   string
	change func([]byte) []byte
	want   string
}

// refusedLayers has each be in the place of a snapshot's own, with its digest right.
func refusedLayers(t *testing.T, layer func(*parts) *[]byte, tests []damagedLayer) {
	_, _, p := saved(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			changed := *p
			*layer(&changed) = test.change(slices.Clone(*layer(p)))
			dir := filepath.Join(t.TempDir(), "s")
			changed.write(t, dir, p)
			assert.Contains(t, refused(t, dir, nil), test.want)
		})
	}
}

// byteAt is a change of one byte.
func byteAt(at int, value byte) func([]byte) []byte {
	return func(layer []byte) []byte { layer[at] = value; return layer }
}

// TestDamagedMemory: a layer that is not that of the memory is refused, with its digest right.
func TestDamagedMemory(t *testing.T) {
	onSampleHost(t)
	refusedLayers(t, func(p *parts) *[]byte { return &p.layer }, []damagedLayer{
		{"a page more in the bitmap", byteAt(1, 1), "but the bitmap names 5 pages, which take 24576"},
		{"a page fewer in the bitmap", byteAt(0, 1), "but the bitmap names 2 pages, which take 12288"},
		{"a page behind the memory", byteAt(2, 0x20), "the bitmap names page 21, but the memory has 21"},
		{"a page at the bitmap's end", byteAt(abi.PageSize-1, 0x80), "the bitmap names page 32767, but the memory has 21"},
		{"empty", func([]byte) []byte { return nil }, "0 bytes long, but the bitmap of 86016 bytes of memory alone has 4096"},
		{"half a bitmap", func(l []byte) []byte { return l[:2048] }, "2048 bytes long"},
		{"a byte fewer", func(l []byte) []byte { return l[:len(l)-1] }, "but the bitmap names 4 pages, which take 20480"},
		{"a byte more", func(l []byte) []byte { return append(l, 0) }, "but the bitmap names 4 pages, which take 20480"},
		{"longer than the memory", func(l []byte) []byte { return append(l, make([]byte, 22*abi.PageSize)...) }, "at most 90112 were expected"},
	})
}

// TestDamagedDisk: a layer that is not that of the disk is refused, with its digest right.
func TestDamagedDisk(t *testing.T) {
	onSampleHost(t)
	refusedLayers(t, func(p *parts) *[]byte { return &p.disk }, []damagedLayer{
		{"a page more", byteAt(0, 4), "16384 bytes long, but it has 4 pages, which take 20480"},
		{"a page fewer", byteAt(0, 2), "16384 bytes long, but it has 2 pages, which take 12288"},
		{"more than there are", byteAt(0, 6), "it has 6 pages of a disk that has 5"},
		{"more than can be counted", byteAt(7, 0x80), "pages of a disk that has 5"},
		{"a page twice", byteAt(16, 0), "page 0 stands behind page 0"},
		{"pages out of order", byteAt(16, 5), "page 4 stands behind page 5"},
		{"something behind the numbers", byteAt(32, 1), "something else than zeroes"},
		{"something before the pages", byteAt(disk.PageSize-1, 1), "something else than zeroes"},
		{"empty", func([]byte) []byte { return nil }, "shorter than the number of its pages"},
		{"a byte fewer", func(l []byte) []byte { return l[:len(l)-1] }, "16383 bytes long"},
		{"a byte more", func(l []byte) []byte { return append(l, 0) }, "16385 bytes long"},
		{"longer than the disk", func(l []byte) []byte { return append(l, make([]byte, 6*disk.PageSize)...) }, "at most 24576 were expected"},
	})
}

// FuzzDisk: whatever a layer holds, it is one that has this encoding and no other, or is refused.
func FuzzDisk(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, writeDisk(&b, disk.NewLayer(map[uint64]*disk.Page{1: {1}, 3: {}})))
	f.Add(b.Bytes(), uint64(40))
	f.Add(make([]byte, disk.PageSize), uint64(1<<64-1))
	f.Fuzz(func(t *testing.T, data []byte, sectors uint64) {
		layer, err := readDisk(bytes.NewReader(data), uint64(len(data)), sectors)
		if err != nil {
			return
		}
		var again bytes.Buffer
		require.NoError(t, writeDisk(&again, layer))
		require.True(t, bytes.Equal(data, again.Bytes()))
	})
}

// TestDamagedFiles: files that are missing, cut off, too long, or none.
func TestDamagedFiles(t *testing.T) {
	onSampleHost(t)
	_, _, p := saved(t)
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, p.index, 0o600))
	for _, file := range []string{oci.ImageLayoutFile, oci.ImageIndexFile, blobName(p.manifest), blobName(p.config), blobName(p.layer), blobName(p.disk)} {
		for _, test := range []struct {
			name   string
			change func(path string) error
		}{
			{"missing", os.Remove},
			{"empty", func(path string) error { return os.Truncate(path, 0) }},
			{"a byte long", func(path string) error { return os.Truncate(path, 1) }},
			{"of a tebibyte", func(path string) error { return os.Truncate(path, 1<<40) }},
			{"a directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }},
			{"a pipe", func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) }},
			{"a link to elsewhere", func(path string) error { return errors.Join(os.Remove(path), os.Symlink(other, path)) }},
			{"a link to itself", func(path string) error { return errors.Join(os.Remove(path), os.Symlink(filepath.Base(path), path)) }},
		} {
			t.Run(test.name+" "+filepath.Dir(file), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "s")
				p.write(t, dir, p)
				require.NoError(t, test.change(filepath.Join(dir, file)))
				refused(t, dir, nil)
			})
		}
	}
	for _, test := range []struct {
		name   string
		change func(dir string) error
	}{
		{"no directory", os.RemoveAll},
		{"a file", func(dir string) error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) }},
		{"no blobs", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "blobs")) }},
		{"blobs elsewhere", func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "blobs"), dir+"-blobs"), os.Symlink(dir+"-blobs", filepath.Join(dir, "blobs")))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "s")
			p.write(t, dir, p)
			require.NoError(t, test.change(dir))
			refused(t, dir, nil)
		})
	}
}

// TestDamagedDescriptors: names and sizes of blobs that are none.
func TestDamagedDescriptors(t *testing.T) {
	onSampleHost(t)
	_, _, p := saved(t)
	name := string(digest.FromBytes(p.manifest))
	for _, test := range []struct{ name, old, new, want string }{
		{"a path", name, "sha256:../../../../../etc/passwd", "is none of SHA-256"},
		{"another algorithm", name, "sha512:" + strings.Repeat("ab", 64), "is none of SHA-256"},
		{"capitals", name, strings.ToUpper(name), "is none of SHA-256"},
		{"long", name, "sha256:" + strings.Repeat("a", 30_000), "is none of SHA-256"},
		{"no digest", name, "", "is none of SHA-256"},
		{"huge", fmt.Sprintf(`"size": %d`, len(p.manifest)), `"size": 9223372036854775807`, "where 9223372036854775807 were expected"},
		{"negative", fmt.Sprintf(`"size": %d`, len(p.manifest)), `"size": -1`, "where -1 were expected"},
		{"no manifest", `"manifests": [`, `"manifests": [], "others": [`, "names 0 manifests"},
		{"two manifests", `"manifests": [`, `"manifests": [{},`, "names 2 manifests, where that of one snapshot was expected: copy the one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			changed := *p
			changed.index = []byte(strings.Replace(string(p.index), test.old, test.new, 1))
			require.NotEqual(t, p.index, changed.index)
			dir := filepath.Join(t.TempDir(), "s")
			changed.put(t, dir, changed.index, p.manifest, p.config)
			assert.Contains(t, refused(t, dir, nil), test.want)
		})
	}
}

// TestLoadCopied: a copy that a tool for OCI images made is a snapshot, to load and to replace. Such tools keep blobs and write the index anew: this one is skopeo's.
func TestLoadCopied(t *testing.T) {
	onSampleHost(t)
	s, dir, p := saved(t)
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%d,`+
		`"annotations":{"org.opencontainers.image.ref.name":"of:mine"}}]}`, digest.FromBytes(p.manifest), len(p.manifest))
	require.NoError(t, os.WriteFile(filepath.Join(dir, oci.ImageIndexFile), []byte(index), 0o600))
	loaded, err := Load(dir)
	require.NoError(t, err)
	defer loaded.Close()
	assertSame(t, s, loaded)
	require.NoError(t, s.Save(dir))
}

// TestLoadIsBounded: the largest configurations, full of structures that take the most memory for a byte, or of such as lie in each other.
func TestLoadIsBounded(t *testing.T) {
	for _, test := range []struct{ name, head, element, tail string }{
		{"empty structures", "", "{},", "{}"},
		{"null", "", "null,", "null"},
		{"structures", "", `{"name": ""},`, "{}"},
		{"depth", strings.Repeat("[", 5000), "1,", "1" + strings.Repeat("]", 5000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			const head, tail = `{"snapshot":{"versions":{"guest":1,"memory":1,"config":2},"state":{"guest":{"memory":1099511627776},"devices":[`, "]}}}"
			for _, n := range []int{maxTokens/2 - 100, (maxConfig - len(head+test.head+test.tail+tail)) / len(test.element)} {
				data := []byte(head + test.head + strings.Repeat(test.element, n) + test.tail + tail)
				require.LessOrEqual(t, len(data), maxConfig)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := decodeConfig(data, nil)
				runtime.ReadMemStats(&after)
				require.Error(t, err)
				checkWords(t, err)
				allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
				assert.Less(t, allocated, uint64(256), "MiB")
				t.Logf("%d MiB: %v", allocated, err)
			}
		})
	}
}

// TestLoadOfManyDisks: what many private disks have is read once for each, were it one file, so there are no more than devices of a machine.
func TestLoadOfManyDisks(t *testing.T) {
	onSampleHost(t)
	s := sample(t, 8, 1)
	s.State.Devices, s.Disks = slices.Repeat(s.State.Devices[1:2], 100), slices.Repeat(s.Disks, 100)
	dir := filepath.Join(t.TempDir(), "s")
	require.NoError(t, s.Save(dir))
	_, err := Load(dir)
	require.ErrorContains(t, err, "100 devices, where at most 8 were expected")
	checkWords(t, err)
}

// TestOwnerAloneReads: nobody else can look at a guest's memory.
func TestOwnerAloneReads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	require.NoError(t, sample(t, 8, 1).Save(dir))
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		assert.Zero(t, info.Mode()&0o077, path)
		return nil
	}))
}

// TestHostVendor: the host's own processor has a vendor.
func TestHostVendor(t *testing.T) {
	vendor, err := hostVendor()
	require.NoError(t, err)
	assert.NotEmpty(t, vendor)
}

// TestSaveReplaces: a snapshot and an empty directory are replaced, and nothing is left beside.
func TestSaveReplaces(t *testing.T) {
	onSampleHost(t)
	dir := filepath.Join(t.TempDir(), "s")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for _, s := range []*Snapshot{sample(t, 8, 1), sample(t, 9, 2)} {
		require.NoError(t, s.Save(dir+"/"))
		loaded, err := Load(dir)
		require.NoError(t, err)
		assertSame(t, s, loaded)
		loaded.Close()
	}
	assert.Equal(t, []string{"s"}, slices.Collect(maps.Keys(entries(t, filepath.Dir(dir)))))
	assert.Len(t, tree(t, dir), 6, "of the older one nothing is left")
}

// entries are those of a directory.
func entries(t *testing.T, dir string) map[string]fs.DirEntry {
	all := map[string]fs.DirEntry{}
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		all[e.Name()] = e
	}
	return all
}

// TestSaveRemovesNothingElse: what is no snapshot stays, and so does a snapshot with something beside it, or one when the new one cannot be written.
func TestSaveRemovesNothingElse(t *testing.T) {
	onSampleHost(t)
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, dir string, s *Snapshot)
		want    string
	}{
		{"a file", func(t *testing.T, dir string, _ *Snapshot) { put(t, dir) }, "it is there, and no directory: name another, or remove it"},
		{"a directory with a file", func(t *testing.T, dir string, _ *Snapshot) { put(t, dir, "letter") }, "it is there, and no snapshot (statat"},
		{"a link to a snapshot", func(t *testing.T, dir string, s *Snapshot) {
			require.NoError(t, s.Save(dir+"-real"))
			require.NoError(t, os.Symlink(dir+"-real", dir))
		}, "it is there, and no directory"},
		{"a snapshot with a file", func(t *testing.T, dir string, s *Snapshot) {
			require.NoError(t, s.Save(dir))
			put(t, dir, "letter")
		}, `it is there, and has "letter" beside a snapshot`},
		{"a snapshot with another blob", func(t *testing.T, dir string, s *Snapshot) {
			require.NoError(t, s.Save(dir))
			put(t, dir, blobs, strings.Repeat("a", 64))
		}, `aaaa" beside a snapshot`},
		{"an image of something else", func(t *testing.T, dir string, s *Snapshot) {
			require.NoError(t, s.Save(dir))
			p := new(parts).read(t, dir)
			changed := *p
			changed.manifest = bytes.ReplaceAll(p.manifest, []byte(artifactType), []byte("application/x"))
			require.NoError(t, os.RemoveAll(dir))
			changed.write(t, dir, p)
		}, `it is there, and no snapshot (blobs/sha256/`},
		{"no directory above", func(t *testing.T, dir string, _ *Snapshot) { require.NoError(t, os.Remove(filepath.Dir(dir))) }, "no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			above := filepath.Join(t.TempDir(), "above")
			require.NoError(t, os.Mkdir(above, 0o700))
			dir := filepath.Join(above, "s")
			s := sample(t, 8, 1)
			test.prepare(t, dir, s)
			was := tree(t, above)
			err := s.Save(dir)
			require.ErrorContains(t, err, test.want)
			checkWords(t, err)
			assert.Equal(t, was, tree(t, above))
		})
	}
}

// put writes a file.
func put(t *testing.T, elements ...string) {
	path := filepath.Join(elements...)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte("dear"), 0o600))
}

// TestSaveThatFails: the older snapshot is whole, and nothing is left beside it.
func TestSaveThatFails(t *testing.T) {
	onSampleHost(t)
	dir := filepath.Join(t.TempDir(), "s")
	s := sample(t, 600, 1, 299, 599)
	require.NoError(t, s.Save(dir))
	was := tree(t, filepath.Dir(dir))
	larger := sample(t, 600, 1)
	larger.Disks, larger.State.Devices = nil, make([]Device, 5000) // more than a configuration takes, which is found when the memory is written
	err := larger.Save(dir)
	require.Error(t, err)
	checkWords(t, err)
	assert.Equal(t, was, tree(t, filepath.Dir(dir)))
	assert.Len(t, entries(t, filepath.Dir(dir)), 1)

	closed := sample(t, 8)
	require.NoError(t, closed.Close())
	require.ErrorContains(t, closed.Save(dir), "the snapshot is closed")
	other := sample(t, 8)
	other.State.Guest.Memory *= 2
	require.ErrorContains(t, other.Save(dir), "it has a memory of 32768 bytes, and a state that says 65536")
	fewer := sample(t, 8)
	fewer.Disks = nil
	require.ErrorContains(t, fewer.Save(dir), "it has what was written to 0 private disks, and a state that says 1")
	assert.Equal(t, was, tree(t, filepath.Dir(dir)))
}

// TestSaveIsWholeAtAnyInstant: who loads while another saves finds one snapshot or the other.
func TestSaveIsWholeAtAnyInstant(t *testing.T) {
	onSampleHost(t)
	dir := filepath.Join(t.TempDir(), "s")
	both := []*Snapshot{sample(t, 8, 1), sample(t, 8, 2)}
	require.NoError(t, both[0].Save(dir))
	done := make(chan error)
	go func() {
		var err error
		for i := 0; i < 50 && err == nil; i++ {
			err = both[i%2].Save(dir)
		}
		done <- err
	}()
	for loads := 0; ; loads++ {
		select {
		case err := <-done:
			require.NoError(t, err)
			t.Logf("%d loads", loads)
			return
		default:
		}
		// A loader that opened the older one may find its files removed, and not damaged ones.
		s, err := Load(dir)
		if err != nil {
			require.ErrorContains(t, err, "no such file or directory")
			require.DirExists(t, dir)
			continue
		}
		s.Close()
	}
}

// FuzzLoad: whatever the files hold, with sizes and digests right, Load returns a snapshot that could be saved, or one line.
func FuzzLoad(f *testing.F) {
	onSampleHost(f)
	_, _, p := saved(f)
	f.Add(p.index, p.manifest, p.config, p.layer, p.disk)
	f.Fuzz(func(t *testing.T, index, manifest, config, layer, disk []byte) {
		changed := &parts{p.layout, index, manifest, config, layer, disk}
		dir := filepath.Join(t.TempDir(), "s")
		changed.write(t, dir, p)
		s, err := Load(dir)
		if err != nil {
			checkWords(t, err)
			return
		}
		defer s.Close()
		require.NoError(t, s.Save(dir+"-again"))
		again, err := Load(dir + "-again")
		require.NoError(t, err)
		defer again.Close()
		assertSame(t, s, again)
	})
}
