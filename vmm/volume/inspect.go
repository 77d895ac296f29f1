package volume

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"kapsel/guest/abi/storage"
	"kapsel/vmm/disk"
)

// Volume is what Inspect found of a storage.
type Volume struct {
	storage.Superblock
	Version   int    // of the layout
	Size      uint64 // of the file or block device, in bytes
	Regions   []Region
	FreePages uint64 // behind all regions
	Hurt      bool   // an entry of the region table is lost: guests allocate no region any more
	KeyValue  KeyValue
	Damage    []Damage

	MoreDamage int // behind the first MaxDamage, which Damage has
	lost       bool
}

// MaxDamage is how much damage is told one by one.
const MaxDamage = 1000

// Region is an entry of the region table.
type Region struct {
	Index int // in the table
	storage.Region
}

// KeyValue is the state of the key-value store, as far as it can be read.
type KeyValue struct {
	Used    int // buckets that have a record
	Records int
	Bytes   int // of the records, with their headers
	Owners  []Owner
}

// Owner is what one write identifier has in the key-value store.
type Owner struct {
	ID      uint32
	Records int
	Bytes   int // as of KeyValue
}

// Damage is something on the disk that no driver wrote, or did not write to its end.
type Damage struct {
	Where string
	What  string
	Lost  bool // data is out of reach; else it is what a write left behind that did not end, or an older copy
}

// String is one line.
func (d Damage) String() string { return d.Where + ": " + d.What }

// Lost reports whether there is a damage by which data is out of reach.
func (v *Volume) Lost() bool { return v.lost }

// Room is how many regions can still be allocated.
func (v *Volume) Room() int {
	if v.Hurt {
		return 0
	}
	return int(min(v.FreePages/v.RegionPages, uint64(storage.Regions-len(v.Regions))))
}

// Inspect reads the storage on the file or block device at path and changes nothing. If there is none the error is a
// ProblemError. The image must not be in use to be written (disk.ErrInUse).
func Inspect(path string) (*Volume, error) {
	image, err := disk.Examine(path)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	v, err := inspect(image)
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", strconv.Quote(path), err)
	}
	return v, nil
}

func inspect(disk image) (*Volume, error) {
	s, err := superblock(disk)
	if err != nil {
		return nil, err
	}
	v := &Volume{Superblock: *s, Version: storage.Version, Size: disk.Size()}
	if err := v.readTable(disk); err != nil {
		return nil, err
	}
	return v, v.readBuckets(disk)
}

// damaged notes a damage.
func (v *Volume) damaged(lost bool, where, what string, args ...any) {
	v.lost = v.lost || lost
	if len(v.Damage) == MaxDamage {
		v.MoreDamage++
		return
	}
	v.Damage = append(v.Damage, Damage{where, fmt.Sprintf(what, args...), lost})
}

// words are what a part of a storage is.
func words(p storage.Problem) string {
	switch p {
	case storage.Blank:
		return "zeroes"
	case storage.Foreign:
		return "something that Kapsel did not write"
	}
	return p.String()
}

func (v *Volume) readTable(disk image) error {
	table := make([]byte, storage.TablePages*storage.PageSize)
	if err := disk.Read([][]byte{table}, storage.TablePage*storage.PageSize); err != nil {
		return err
	}
	var t storage.Table
	t.Start(&v.Superblock)
	for i := range storage.Regions {
		where := fmt.Sprintf("region %d", i)
		whole := !t.Hurt()
		r := Region{Index: i}
		switch problem := t.Next(table[i*storage.SectorSize:], &r.Region); problem {
		case storage.Blank:
		case storage.Whole:
			v.Regions = append(v.Regions, r)
			if whole && t.Hurt() {
				v.damaged(true, where, "the entry before it is lost")
			}
		default:
			v.damaged(true, where, "its entry is %s", words(problem))
		}
	}
	v.Hurt, v.FreePages = t.Hurt(), t.FreePages()
	return nil
}

// records are those that count, by their keys.
type records map[string]found

type found struct {
	sequence uint64
	owner    uint32
	bytes    int
	bucket   uint32
}

func (v *Volume) readBuckets(disk image) error {
	all := records{}
	var copies [2][storage.PageSize]byte
	for index := range uint32(v.Buckets) {
		if err := disk.Read([][]byte{copies[0][:], copies[1][:]}, v.BucketPage(index, 0)*storage.PageSize); err != nil {
			return err
		}
		if bucket, ok := v.bucket(index, copies[0][:], copies[1][:]); ok {
			v.add(all, index, bucket)
		}
	}
	v.count(all)
	return nil
}

// bucket is the copy that counts of a bucket, or false if there is none.
func (v *Volume) bucket(index uint32, pages ...[]byte) (storage.Bucket, bool) {
	var buckets [2]storage.Bucket
	var problems [2]storage.Problem
	var sums storage.Sums
	for i, page := range pages {
		buckets[i], problems[i] = storage.CheckBucket(page, index, &sums)
	}
	where := fmt.Sprintf("bucket %d", index)
	counts, ok := storage.Newer(buckets[0], problems[0], buckets[1], problems[1])
	if !ok {
		v.damaged(true, where, "lost, as none of its copies counts for sure: copy 0 is %s, copy 1 is %s", words(problems[0]), words(problems[1]))
		return storage.Bucket{}, false
	}
	if problems[1-counts] > storage.Blank {
		v.damaged(false, where, "nothing is lost: copy %d counts, and copy %d is not whole, as after a write that did not end", counts, 1-counts)
	}
	return buckets[counts], true
}

// add adds a bucket's records to all. Of two with one key, of which one is in each of the key's buckets, the higher one counts.
func (v *Volume) add(all records, index uint32, bucket storage.Bucket) {
	if bucket.Count() > 0 {
		v.KeyValue.Used++
	}
	where := fmt.Sprintf("bucket %d", index)
	rest := bucket.Records()
	for r := (storage.Record{}); rest.Next(&r); {
		key := string(r.Key)
		first, second := v.Candidates(r.Key)
		old, twice := all[key]
		switch {
		case index != first && index != second:
			v.damaged(true, where, "the key %q does not belong there", key)
			continue
		case twice && (old.bucket == index || old.sequence == r.Sequence):
			v.damaged(true, where, "the key %q stands twice", key)
		}
		if !twice || r.Sequence > old.sequence {
			all[key] = found{r.Sequence, r.Owner, storage.RecordBytes(len(r.Key), len(r.Value)), index}
		}
	}
}

// count counts the records.
func (v *Volume) count(all records) {
	owners := map[uint32]*Owner{}
	for _, r := range all {
		o := owners[r.owner]
		if o == nil {
			o = &Owner{ID: r.owner}
			owners[r.owner] = o
		}
		o.Records++
		o.Bytes += r.bytes
		v.KeyValue.Records++
		v.KeyValue.Bytes += r.bytes
	}
	for _, id := range slices.Sorted(maps.Keys(owners)) {
		v.KeyValue.Owners = append(v.KeyValue.Owners, *owners[id])
	}
}
