package storage

import (
	"encoding/hex"
	"flag"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the bytes in docs/storage.md anew")

// dump is what hexdump -C prints, without the line for the end: "*" stands for lines that are as the one before.
func dump(b []byte) string {
	var out strings.Builder
	before := ""
	for line := range strings.Lines(hex.Dump(b)) {
		switch _, bytes, _ := strings.Cut(line, "  "); {
		case bytes != before:
			out.WriteString(line)
			before = bytes
		case !strings.HasSuffix(out.String(), "*\n"):
			out.WriteString("*\n")
		}
	}
	return out.String()
}

// TestDocumentedBytes: the examples of docs/storage.md are what is written.
func TestDocumentedBytes(t *testing.T) {
	s := Superblock{Pages: 256, RegionPages: 16, BucketsPage: 9, Buckets: 8, RegionsPage: 25}
	for i := range 16 {
		s.Identity[i], s.HashKey[i] = byte(i), byte(0xf0+i)
	}
	entry := make([]byte, SectorSize)
	(&Region{Driver: 0x50001, Owner: 7, Page: 25, Pages: 16}).Encode(entry, 0)
	bucket := NewBucket(make([]byte, PageSize), 3)
	require.True(t, bucket.Append(record(1, 7, "name", "kapsel")))
	var before Sums
	before.Compute(make([]byte, PageSize))
	bucket.Seal(2, &before)
	wanted := []string{dump(encoded(s)), dump(entry), dump(bucket.page)}

	const path = "../../../docs/storage.md"
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	dumps := regexp.MustCompile("(?s)```\n(00000000 .*?)```\n")
	if *update {
		content = dumps.ReplaceAllFunc(content, func([]byte) []byte {
			want := wanted[0]
			wanted = append(wanted[1:], want)
			return []byte("```\n" + want + "```\n")
		})
		require.NoError(t, os.WriteFile(path, content, 0o644))
	}
	found := dumps.FindAllSubmatch(content, -1)
	require.Len(t, found, len(wanted))
	for i, want := range wanted {
		assert.Equal(t, want, string(found[i][1]))
	}
}

// TestDocumentedOffsets: each field's offset and size are those of the tables in docs/storage.md.
func TestDocumentedOffsets(t *testing.T) {
	content, err := os.ReadFile("../../../docs/storage.md")
	require.NoError(t, err)
	_, layout, _ := strings.Cut(string(content), "\n### Superblock\n")
	var offsets []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (\d*) ?\| `).FindAllStringSubmatch(layout, -1) {
		offsets = append(offsets, row[1]+"+"+row[2])
	}
	want := func(fields ...int) (all []string) {
		for i, at := range fields[:len(fields)-1] {
			all = append(all, strconv.Itoa(at)+"+"+strconv.Itoa(fields[i+1]-at))
		}
		return all
	}
	var all []string
	all = append(all, want(superblockMagicAt, superblockVersionAt, superblockPageSizeAt, superblockIdentityAt, superblockHashKeyAt,
		superblockPagesAt, superblockRegionPagesAt, superblockBucketsAt, superblockBucketCountAt, superblockRegionsAt, superblockUsed,
		SectorSize-checksumSize, SectorSize)...)
	all = append(all, want(regionMagicAt, regionVersionAt, regionIndexAt, regionDriverAt, regionOwnerAt, regionPageAt, regionPagesAt,
		regionUsed, SectorSize-checksumSize, SectorSize)...)
	all = append(all, want(bucketMagicAt, bucketGenerationAt, bucketIndexAt, bucketUsedAt, bucketCountAt, bucketSumsAt, bucketBeforeAt,
		bucketChecksumAt, bucketRecordsAt)...)
	all = append(all, strconv.Itoa(bucketRecordsAt)+"+")
	all = append(all, want(recordSequenceAt, recordOwnerAt, recordKeyAt, recordValueAt, recordHeader)...)
	all = append(all, strconv.Itoa(recordHeader)+"+")
	assert.Equal(t, all, offsets)
}
