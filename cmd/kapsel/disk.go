package main

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"kapsel/files"
	"kapsel/guest/abi"
	"kapsel/vmm/volume"
)

// diskCommand is "kapsel disk".
func diskCommand(args []string, std stdio) (status int, err error) {
	const want = "want kapsel disk format FILE or kapsel disk show FILE"
	switch {
	case len(args) == 0:
		err = errors.New(want)
	case args[0] == "format":
		err = formatDisk(args[1:], std.out)
	case args[0] == "show":
		status, err = showDisk(args[1:], std.out)
	case strings.HasPrefix(args[0], "-"):
		err = parseOnly(newFlags("disk"), args[:1])
	default:
		err = fmt.Errorf("disk %q: %s", args[0], want)
	}
	if err != nil {
		return statusUsage, usageError{err}
	}
	return status, nil
}

// parseFile parses flags and the one file that a command is about.
func parseFile(f *flag.FlagSet, command string, args []string) (path string, err error) {
	paths, err := parseMixed(f, args)
	switch {
	case err != nil:
		return "", err
	case len(paths) == 0 || paths[0] == "":
		return "", fmt.Errorf("no file given: kapsel %s FILE", command)
	case len(paths) > 1:
		return "", fmt.Errorf("unexpected argument %q", paths[1])
	}
	return paths[0], nil
}

// formatDisk is "kapsel disk format": it makes a storage.
func formatDisk(args []string, out io.Writer) error {
	var o volume.Options
	size, region, keyValue := byteSize(0), byteSize(volume.DefaultRegionSize), byteSize(volume.DefaultKeyValueSize)
	f := newFlags("disk")
	f.Var(&size, "size", "")
	f.Var(&region, "region-size", "")
	f.Var(&keyValue, "kv-size", "")
	f.BoolVar(&o.Force, "force", false, "")
	path, err := parseFile(f, "disk format", args)
	if err != nil {
		return err
	}
	o.Size, o.RegionSize, o.KeyValueSize = uint64(size), uint64(region), uint64(keyValue)
	v, err := volume.Format(path, o)
	if _, held := errors.AsType[*volume.HeldError](err); held {
		return fmt.Errorf("%w: --force overwrites all of it", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%q: a storage of %s: %s for keys and values, and room for %d regions of %s\n", path, pages(v.Pages), &keyValue, v.Room(), &region)
	return nil
}

// showDisk is "kapsel disk show": it tells what is on a storage. The status is statusLost if there is such a damage.
func showDisk(args []string, out io.Writer) (int, error) {
	path, err := parseFile(newFlags("disk"), "disk show", args)
	if err != nil {
		return 0, err
	}
	v, err := volume.Inspect(path)
	if err != nil {
		return 0, err
	}
	writeVolume(out, v)
	if v.Lost() {
		return statusLost, nil
	}
	return 0, nil
}

// pages is the size of so many pages in words.
func pages(n uint64) string { return files.Size(n * abi.PageSize) }

// writeVolume writes what Inspect found.
func writeVolume(out io.Writer, v *volume.Volume) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Kapsel storage\tversion %d, identity %s\n", v.Version, hex.EncodeToString(v.Identity[:]))
	fmt.Fprintf(w, "size\t%s\n", pages(v.Pages))
	fmt.Fprintf(w, "regions\t%d, and room for %d of %s\n", len(v.Regions), v.Room(), pages(v.RegionPages))
	fmt.Fprintf(w, "key-value store\t%s: %d of %d buckets in use\n", pages(v.RegionsPage-v.BucketsPage), v.KeyValue.Used, v.Buckets)
	fmt.Fprintf(w, "records\t%d, of %d bytes in all\n", v.KeyValue.Records, v.KeyValue.Bytes)
	w.Flush()
	if len(v.Regions) > 0 {
		fmt.Fprintf(w, "\nregion\towner\tsize\tat\tdriver\n")
		for _, r := range v.Regions {
			fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\n", r.Index, r.Owner, pages(r.Pages), pages(r.Page), driverName(r.Driver))
		}
		w.Flush()
	}
	if len(v.KeyValue.Owners) > 0 {
		fmt.Fprintf(w, "\nrecords of\tnumber\tbytes\n")
		for _, o := range v.KeyValue.Owners {
			fmt.Fprintf(w, "owner %d\t%d\t%d\n", o.ID, o.Records, o.Bytes)
		}
		w.Flush()
	}
	if len(v.Damage) > 0 {
		fmt.Fprintf(out, "\n")
		for _, d := range v.Damage {
			fmt.Fprintf(out, "%s\n", d)
		}
	}
	if v.MoreDamage > 0 {
		fmt.Fprintf(out, "and %d more like these\n", v.MoreDamage)
	}
}

// driverName is a driver's number with its name.
func driverName(number uint32) string {
	names := map[uint32]string{
		abi.DriverNonvolatileStorage:  ", nonvolatile storage",
		abi.DriverIsolatedNonvolatile: ", isolated nonvolatile storage",
	}
	return fmt.Sprintf("%#x%s", number, names[number])
}
