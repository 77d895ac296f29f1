package snapshot

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/snapshot"
)

// TestResetToAnyState: each field of a machine's state gets each class of values, as of a snapshot on disk whose digests are right. The reset is refused or fails in
// one line, or is done; then the guest runs, and whatever becomes of it, the next reset makes it whole. By day it is one field of each eight.
func TestResetToAnyState(t *testing.T) {
	needKVM(t)
	img, err := image.Parse(image.Flat(counts, 20*abi.PageSize))
	require.NoError(t, err)
	g := start(t, vmm.Config{Image: img, Memory: 4 << 20, Devices: []vmm.Device{vmm.Entropy{}}})
	require.Equal(t, "\x01", g.runUntil(t, "\x01"))
	first := g.snapshot(t)
	g.console.each = true

	text, err := json.Marshal(&first.State)
	require.NoError(t, err)
	harmed := &snapshot.Snapshot{Memory: first.Memory}
	require.NoError(t, json.Unmarshal(text, &harmed.State))
	harmed.State.Devices[0].Name = strings.Repeat("x\n\x1b[2J", 1000) // which messages may have
	places, every := 0, 8
	if machine.Nightly() {
		every = 1
	}
	ends := map[string]int{}
	harm(reflect.ValueOf(&harmed.State).Elem(), "", func(path string, with func(try func(what string))) {
		if places++; places%every != 0 {
			return
		}
		with(func(what string) { ends[resetAndRun(t, g, harmed, path+" "+what)]++ })
	})
	g.reset(t, first)
	g.console.each = false
	require.Equal(t, "\x02", g.runUntil(t, "\x02"), "as it was")
	t.Logf("%d fields: %v", places, ends)
	assert.Positive(t, ends["refused"])
	assert.Positive(t, ends["paused"])
}

// resetAndRun resets the machine to a state and lets the guest run for a while. It says what came of that.
func resetAndRun(t *testing.T, g *guest, s *snapshot.Snapshot, what string) string {
	t.Helper()
	if _, err := g.Reset(s, vmm.StandStill); err != nil {
		inALine(t, what, err.Error())
		return "refused"
	}
	timer := time.AfterFunc(time.Millisecond, g.Pause) // for a guest that no longer pauses by itself
	defer timer.Stop()
	exit, err := g.Run(t.Context())
	if err != nil {
		inALine(t, what, err.Error())
		return "failed"
	}
	inALine(t, what, fmt.Sprint(exit))
	return fmt.Sprint(exit.Reason)
}

// inALine checks a message.
func inALine(t *testing.T, what, message string) {
	t.Helper()
	assert.Less(t, len(message), 1000, "%s: %.1000s", what, message)
	for _, c := range message {
		if unicode.IsControl(c) {
			t.Errorf("%s: a control character in %q", what, message)
			return
		}
	}
}

// harm visits each field of a value. What it calls visit with has the field harmed in one way after the other, and try called for each; behind that it is as before.
func harm(v reflect.Value, path string, visit func(path string, with func(try func(what string)))) {
	put := func(others ...any) {
		visit(path, func(try func(string)) {
			old := reflect.New(v.Type()).Elem()
			old.Set(v)
			defer v.Set(old)
			for _, other := range others {
				v.Set(reflect.ValueOf(other).Convert(v.Type()))
				text := fmt.Sprint(other)
				try("= " + text[:min(len(text), 40)])
			}
		})
	}
	switch v.Kind() {
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); ok {
			put(time.Time{}, time.Unix(1<<40, 0))
			return
		}
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() { // padding
				continue
			}
			harm(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case reflect.Slice:
		n := v.Len()
		put(reflect.Zero(v.Type()).Interface(), v.Slice(0, n/2).Interface(), reflect.AppendSlice(v.Slice3(0, n, n), v).Interface(), many(v).Interface())
		harmElements(v, path, visit)
	case reflect.Array:
		harmElements(v, path, visit)
	case reflect.String:
		put("", "x\n\x1b[2J", fmt.Sprint(make([]byte, 5000)))
	case reflect.Bool:
		put(!v.Bool())
	case reflect.Pointer:
		if !v.IsNil() {
			harm(v.Elem(), path, visit)
		}
	default:
		if v.CanUint() {
			old := v.Uint()
			put(uint64(0), uint64(1), old^1, old+1, uint64(1)<<(v.Type().Bits()-1), ^uint64(0))
		} else {
			old := v.Int()
			put(int64(0), int64(1), old^1, int64(-1), int64(1)<<(v.Type().Bits()-2), int64(-1)<<(v.Type().Bits()-1))
		}
	}
}

// harmElements visits elements: of registers in bytes the first of each 16.
func harmElements(v reflect.Value, path string, visit func(string, func(func(string)))) {
	step := 1
	if v.Type().Elem().Kind() == reflect.Uint8 && v.Len() > 64 {
		step = 16
	}
	for i := 0; i < v.Len(); i += step {
		harm(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
	}
}

// many is a slice of 5000 zero values.
func many(v reflect.Value) reflect.Value { return reflect.MakeSlice(v.Type(), 5000, 5000) }
