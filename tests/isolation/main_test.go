package isolation

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"kapsel/tests/isolation/bugs"
)

// TestMain prints, with -v, which bugs the tests stand for and how they ended.
func TestMain(m *testing.M) {
	status := m.Run()
	if flag.Lookup("test.v").Value.String() == "true" {
		printTable()
	}
	os.Exit(status)
}

// outcomes are the tests of this package that ran, and whether they passed.
var outcomes = map[string]bool{}

// record keeps the outcome of a test for the table.
func record(t *testing.T) {
	t.Helper()
	name := t.Name()
	t.Cleanup(func() { outcomes[name] = !t.Failed() })
}

func printTable() {
	fmt.Println("\nIsolation bugs of Tock, and the tests of their kind here (those of other packages are run with them):")
	for _, bug := range bugs.All {
		fmt.Printf("%-16s %s\n%16s here: %s\n", bug.Report, bug.What, "", bug.Here)
		for _, test := range bug.Tests {
			fmt.Printf("%16s %-11s %s %s\n", "", outcome(test), test.Package, test.Name)
		}
	}
}

func outcome(test bugs.Test) string {
	passed, ran := outcomes[test.Name]
	switch {
	case test.Package != "tests/isolation":
		return "elsewhere:"
	case !ran:
		return "not run:"
	case passed:
		return "passed:"
	}
	return "FAILED:"
}
