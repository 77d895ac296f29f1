package main

import (
	"cmp"
	"fmt"
	"go/token"
	"slices"
)

// A rule in words. It ends the line of a breach.
type rule string

const (
	ruleLayers    rule = "every package of the guest has a layer (tools/capcheck/layers.go)"
	ruleImports   rule = "imports point down: board, capsules, kernel, abi (tools/capcheck/layers.go)"
	ruleLibrary   rule = "ring 0 imports only what its layer lists of the standard library (tools/capcheck/layers.go)"
	ruleUnsafe    rule = "unsafe code and assembly stay in the trusted packages"
	ruleSource    rule = "all of ring 0 is source that is counted"
	ruleDirective rule = "safe packages give the compiler no directives"
	ruleCapsule   rule = "a capsule has no goroutine, channel, map, package variable or init function"
	ruleShared    rule = "capsules share no variables"
	ruleMint      rule = "only the board mints"
	ruleServe     rule = "only the machine layer acts for a task"
	ruleGrant     rule = "what a grant holds has no pointers"
	ruleTypes     rule = "the image has no type descriptors (tools/mkimage/types.go), which a type switch reads"
	ruleRecursion rule = "ring 0 does not recurse: its stack is of fixed size"
	ruleClient    rule = "methods of client interfaces have no results: a client that fails is cut off"
	ruleEnds      rule = "a driver says which of its upcalls end an operation (kernel.Ends): a task that waits for one is told when the capsule fails"
	ruleCopy      rule = "a capsule copies no kernel.Task: the kernel clears the one that it is lent"
	ruleWiring    rule = "a board's list says of each capsule which others it uses: they take it with them when they fail"
)

// A breach of a rule.
type breach struct {
	path string
	line int
	what string
	rule rule
}

func (b breach) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", b.path, b.line, b.what, b.rule)
}

// check checks all rules and returns the breaches, sorted by place. The rules on types
// are checked only where the others hold: they rely on these.
func check(m *module) ([]breach, error) {
	var found []breach
	for _, p := range m.packages {
		found = append(found, m.checkImports(p)...)
		found = append(found, m.checkSource(p)...)
	}
	if len(found) == 0 {
		typed, err := m.checkTypes()
		if err != nil {
			return nil, err
		}
		found = typed
	}
	return sorted(found), nil
}

// sorted sorts breaches by place, each once.
func sorted(found []breach) []breach {
	slices.SortFunc(found, func(a, b breach) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.line, b.line), cmp.Compare(a.what, b.what))
	})
	return slices.Compact(found)
}

// breach makes a breach at pos. Line directives do not move it.
func (m *module) breach(pos token.Pos, r rule, format string, args ...any) breach {
	at := m.fset.PositionFor(pos, false)
	return breach{at.Filename, at.Line, fmt.Sprintf(format, args...), r}
}
