package main

import (
	"errors"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"

	"kapsel/tools/boardlist"
)

// boardList is where the board lists its capsules.
const boardList = "guest/board/kvm/capsules.go"

// wiring is the board's list: a line for each capsule, with those that it uses behind its name.
func wiring(root string) (string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, boardList), nil, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	var lines strings.Builder
	for _, l := range boardlist.Lines(f) {
		lines.WriteString(strings.Join(append([]string{l.Name}, l.Uses...), " ") + "\n")
	}
	if lines.Len() == 0 {
		return "", errors.New(boardList + " lists no capsules: its lines have a Name")
	}
	return lines.String(), nil
}
