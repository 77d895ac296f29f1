package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A table is rows of cells, the heading first. The columns from texts on are numbers, which
// are written to the right.
type table struct {
	texts int
	rows  [][]string
}

// empty reports whether there is nothing but the heading.
func (t table) empty() bool { return len(t.rows) < 2 }

// write writes Markdown with its columns in line, so that a person can read it as well.
func (t table) write(w io.Writer) {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range t.rows {
		for i, cell := range row {
			width := -widths[i] // to the left
			if i >= t.texts {
				width = widths[i]
			}
			fmt.Fprintf(w, "| %*s ", width, cell)
		}
		fmt.Fprintln(w, "|")
		if n == 0 {
			t.writeRule(w, widths)
		}
	}
}

// writeRule writes the line under the heading.
func (t table) writeRule(w io.Writer, widths []int) {
	for i, width := range widths {
		end := "-"
		if i >= t.texts {
			end = ":"
		}
		fmt.Fprintf(w, "|%s%s", strings.Repeat("-", width+1), end)
	}
	fmt.Fprintln(w, "|")
}

// number is v without a fraction that says nothing.
func number(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// orNone is number of a value, or a dash if there is none.
func orNone(v float64, ok bool) string {
	if !ok {
		return "-"
	}
	return number(v)
}

// ratio is theirs to ours: above 1 the peer takes more.
func ratio(theirs, ours float64) string {
	if ours == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", theirs/ours)
}
