package main

// starts are the rows of the table of starts: what begins, and the benchmark of package tests/start.
var starts = []struct{ what, benchmark string }{
	{"`runc run`", "Start/runc"},
	{"`kapsel oci run`", "Start/oci"},
	{"`kapsel run`", "Start/run"},
	{"`kapsel run --from`", "Start/from"},
	{"a process of the command and no machine: `kapsel version`", "Start/version"},
	{"within a process: a machine is made and boots", "Pool/boot"},
	{"within a process: a fork of a snapshot in memory", "Pool/fork"},
	{"within a process: that snapshot is read from its files", "Pool/load"},
}

// startTable returns the rows that were measured.
func startTable(found results, icount bool) table {
	t := table{texts: 1, rows: [][]string{{"what", unitName(passed, icount), unitName(used, icount)}}}
	for _, s := range starts {
		all, ok := found.get(metric{s.benchmark, passed})
		if !ok {
			continue
		}
		row := []string{s.what, number(all), "-"}
		if own, ok := found.get(metric{s.benchmark, used}); ok {
			row[2] = number(own)
		}
		t.rows = append(t.rows, row)
	}
	return t
}
