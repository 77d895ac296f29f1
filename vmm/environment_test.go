package vmm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
)

func TestCheckEnvironment(t *testing.T) {
	long := strings.Repeat("x", abi.EnvironmentMax-1)
	for _, tt := range []struct {
		name                   string
		arguments, environment []string
		want                   string
	}{
		{"nothing", nil, nil, ""},
		{"anything", []string{"", "-x", "a=b", "ä\n"}, []string{"A=", "A=b=c", "A b=\x01"}, ""},
		{"as much as there can be", []string{long}, nil, ""},
		{"a byte more", []string{long}, []string{"A="}, "arguments and environment of 65539 bytes: together they have at most 65536, each string with a zero byte"},
		{"a zero byte in an argument", []string{"a\x00b"}, nil, `"a\x00b": arguments and environment cannot have a zero byte within`},
		{"a zero byte in a variable", nil, []string{"a=\x00"}, `"a=\x00": arguments and environment cannot have a zero byte within`},
		{"a variable without a value", nil, []string{"A"}, `the environment has "A": want NAME=VALUE`},
		{"a variable without a name", nil, []string{"=b"}, `the environment has "=b": want NAME=VALUE`},
		{"an empty variable", nil, []string{""}, `the environment has "": want NAME=VALUE`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckEnvironment(tt.arguments, tt.environment)
			if tt.want == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, tt.want)
			}
		})
	}
}

// TestEnvironmentIsPadding: what the guest finds is what was given, in an object that loaders take for padding.
func TestEnvironmentIsPadding(t *testing.T) {
	task := []byte("task")
	for _, tt := range []struct {
		name                   string
		arguments, environment []string
	}{
		{"both", []string{"a", "", "b c"}, []string{"A=b", "C="}},
		{"arguments", []string{"a"}, nil},
		{"an environment", nil, []string{"A=b"}},
		{"much", []string{strings.Repeat("x", abi.EnvironmentMax-1)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Modules: [][]byte{task}, Arguments: tt.arguments, Environment: tt.environment}
			modules := c.GuestModules()
			assert.Len(t, modules, 2)
			assert.Equal(t, task, modules[1])
			assert.Equal(t, [][]byte{task}, c.Modules, "the configuration is as it was")
			object, wrong := tbf.Parse(modules[0])
			assert.True(t, wrong.OK())
			assert.True(t, object.Padding())
			assert.False(t, object.Enabled())
			arguments, environment, ok := abi.FindEnvironment(modules[0])
			assert.True(t, ok)
			assert.Equal(t, inWords(tt.arguments), string(arguments))
			assert.Equal(t, inWords(tt.environment), string(environment))
		})
	}
	c := Config{Modules: [][]byte{task}}
	assert.Equal(t, c.Modules, c.GuestModules(), "nothing given, nothing added")
}

func inWords(all []string) (text string) {
	for _, s := range all {
		text += s + "\x00"
	}
	return text
}
