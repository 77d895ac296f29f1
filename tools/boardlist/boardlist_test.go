package boardlist

import (
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLines(t *testing.T) {
	const text = `package main

var list = [...]component{
	{Name: "line", Init: wireLine, Clear: func() {}},
	{Name: "mux", Uses: "line other", With: "line", Init: wireMux, Clear: func() {}},
	{Name: "sum", Plain: &system.sum},
	{Name: "half", Init: wireHalf},
	{"positional", wireLine},
	{Name: name, Init: wireLine, Clear: func() {}},
}

var port = port{Name: "no line"}
`
	f, err := parser.ParseFile(token.NewFileSet(), "list.go", text, 0)
	require.NoError(t, err)
	lines := Lines(f)
	require.Len(t, lines, 4)
	names := []string{}
	for _, l := range lines {
		names = append(names, l.Name)
	}
	assert.Equal(t, []string{"line", "mux", "sum", "half"}, names)
	assert.Equal(t, []string{"line", "other"}, lines[1].Uses)
	assert.Equal(t, []string{"line"}, lines[1].With)
	assert.Nil(t, lines[1].Plain)
	assert.NotNil(t, lines[2].Plain)
	assert.NotNil(t, lines[3].Init)
	assert.Nil(t, lines[3].Clear)
}
