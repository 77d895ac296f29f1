package virtio_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	abi "kapsel/guest/abi/virtio"
	corpus "kapsel/guest/abi/virtio/hostile"
	"kapsel/vmm/virtio"
)

// busy has a conversation with a device, which then has requests in flight and more, if its kind ever has. It is paused.
func busy(t testing.TB, v *model, seed uint64) *stepped {
	s := newStepped(t, v)
	r := rand.New(rand.NewPCG(seed, 7))
	for range 40 {
		s.act(r.Uint64(), s.rest)
	}
	if s.Broken() && seed%4 != 0 {
		s.StartWith(v.features, v.queues, 8)
	}
	for _, q := range s.Queues {
		for range 3 {
			q.Offer(q.Chain(v.request(r, s.Driver, q.Number)...))
		}
		q.Notify()
	}
	s.m.Pause()
	return s
}

// restored has a device take a state over, and then a driver attack it. It has to be as ever after a reset.
func restored(t testing.TB, s *stepped, state virtio.State, script []corpus.Step) error {
	err := s.m.Restore(state)
	if err != nil {
		assert.Zero(t, s.m.Save().Status)
		assert.False(t, s.m.Save().NeedsReset)
	}
	s.watch(s.m.Resume)
	attacker := victim{queues: s.model.queues, features: s.model.features}
	for _, step := range script {
		attacker.step(s.Driver, s.Queues[int(step.Queue)%len(s.Queues)], step)
	}
	s.StartWith(s.model.features, s.model.queues, 8)
	q := s.Queues[len(s.Queues)-1]
	q.Offer(q.Chain(s.model.request(rand.New(rand.NewPCG(1, 1)), s.Driver, q.Number)...))
	q.Notify()
	return err
}

// mutate replaces the n-th value of a tree of JSON that is no object, and reports whether there is one; n counts down.
func mutate(tree any, n *int, with func(old any) any) (any, bool) {
	switch v := tree.(type) {
	case map[string]any:
		for _, key := range sorted(v) {
			if changed, ok := mutate(v[key], n, with); ok {
				v[key] = changed
				return v, true
			}
		}
		return v, false
	case []any:
		for i := range v {
			if changed, ok := mutate(v[i], n, with); ok {
				v[i] = changed
				return v, true
			}
		}
	}
	if *n--; *n < 0 {
		return with(tree), true
	}
	return tree, false
}

func sorted(m map[string]any) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// values are those that a field gets, by classes: of numbers, of lists, and of what is there or not.
var values = []func(old any) any{
	func(any) any { return 0 },
	func(any) any { return 1 },
	func(any) any { return 7 },
	func(any) any { return 8 },
	func(any) any { return 255 },
	func(any) any { return 65535 },
	func(any) any { return 1 << 31 },
	func(any) any { return uint64(1<<32 - 1) },
	func(any) any { return uint64(1 << 32) },
	func(any) any { return uint64(1<<64 - 1) },
	func(any) any { return -1 },
	func(any) any { return true },
	func(any) any { return false },
	func(any) any { return nil },
	func(any) any { return []any{} },
	func(old any) any { // one more, which stands there already
		if list, ok := old.([]any); ok && len(list) > 0 {
			return append(list, list[0])
		}
		return []any{0, 0}
	},
	func(old any) any {
		if n, ok := old.(json.Number); ok {
			i, _ := n.Int64()
			return i + 1
		}
		return old
	},
}

// mutated returns a state with another value in its n-th place; false if there is no such place, or none such value.
func mutated(t testing.TB, s *stepped, place int, value func(any) any) (state virtio.State, there, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(s.save()))
	decoder.UseNumber()
	var tree any
	require.NoError(t, decoder.Decode(&tree))
	tree, there = mutate(tree, &place, value)
	text, err := json.Marshal(tree)
	require.NoError(t, err)
	return state, there, json.Unmarshal(text, &state) == nil
}

// TestRestoreOfAnyField: of each kind of device each field of a state gets each class of values. It is refused, and leaves a device as
// after a reset, or it is taken: no panic, nothing written that is not declared, and the device serves the next driver.
func TestRestoreOfAnyField(t *testing.T) {
	for i := range models {
		t.Run(models[i].name, func(t *testing.T) {
			s := busy(t, &models[i], uint64(i)+1)
			require.NotEqual(t, true, s.Broken())
			base := s.m.Save()
			refused, places := 0, 0
			for there := true; there; places++ {
				for _, value := range values {
					var state virtio.State
					var ok bool
					require.NoError(t, s.m.Restore(base))
					if state, there, ok = mutated(t, s, places, value); there && ok {
						if s.m.Restore(state) != nil {
							refused++
							require.Zero(t, s.m.Save().Status)
						} else {
							s.watch(s.m.Resume)
							s.watch(s.m.Pause)
						}
					}
				}
			}
			require.NoError(t, restored(t, s, base, nil))
			t.Logf("%d fields, %d refusals", places-1, refused)
			assert.Greater(t, refused, places)
		})
	}
}

// TestRestoreRefuses: states that no device can be in, by name.
func TestRestoreRefuses(t *testing.T) {
	for i, v := range models {
		if v.name != "console" {
			continue
		}
		s := busy(t, &models[i], 1)
		base := s.m.Save()
		require.NotNil(t, base.Console.Room, "the conversation is to leave a request in flight")
		for name, change := range map[string]func(*virtio.State){
			"another kind":                             func(s *virtio.State) { s.ID = abi.IDNet },
			"a queue too few":                          func(s *virtio.State) { s.Queues = s.Queues[1:] },
			"a status out of its sequence":             func(s *virtio.State) { s.Status &^= abi.StatusDriver },
			"a bit that is none":                       func(s *virtio.State) { s.Status |= 32 },
			"features that are not offered":            func(s *virtio.State) { s.DriverFeatures |= 1 << 40 },
			"an interrupt that is none":                func(s *virtio.State) { s.InterruptStatus = 4 },
			"a queue of 3":                             func(s *virtio.State) { s.Queues[0].Size = 3 },
			"a table where no RAM is":                  func(s *virtio.State) { s.Queues[0].Desc = 0xd000_0000 },
			"a ring in another queue's":                func(s *virtio.State) { s.Queues[0].Device = s.Queues[1].Device },
			"more taken than filled":                   func(s *virtio.State) { s.Queues[0].Next = s.Queues[0].Seen + 1 },
			"more filled than there is":                func(s *virtio.State) { s.Queues[0].Seen = s.Queues[0].Used + 9 },
			"a request lost":                           func(s *virtio.State) { s.Console.Room = nil },
			"a request too many":                       func(s *virtio.State) { s.Queues[0].Next-- },
			"a head behind the table":                  func(s *virtio.State) { s.Console.Room.Head = 8 },
			"more descriptors than there are":          func(s *virtio.State) { s.Console.Room.Descriptors = 9 },
			"room where no RAM is":                     func(s *virtio.State) { s.Console.Room.Writable[0].Address = 1<<64 - 4 },
			"room across the end of RAM":               func(s *virtio.State) { s.Console.Room.Writable[0].Address = steppedRAM - 1 },
			"room of no bytes":                         func(s *virtio.State) { s.Console.Room.Writable[0].Length = 0 },
			"more bytes than a chain can have":         func(s *virtio.State) { s.Console.Room.Written = 1<<32 + 1 },
			"a head that is to be taken again as well": func(s *virtio.State) { s.Queues[0].Again = []uint16{s.Console.Room.Head} },
			"nothing of its kind":                      func(s *virtio.State) { s.Console = nil },
			"requests in flight without a session":     func(s *virtio.State) { s.Status &^= abi.StatusDriverOK; s.InterruptStatus = 0 },
		} {
			t.Run(name, func(t *testing.T) {
				require.NoError(t, s.m.Restore(base))
				var state virtio.State
				require.NoError(t, json.Unmarshal(s.save(), &state))
				change(&state)
				require.Error(t, s.m.Restore(state))
				saved := s.m.Save()
				assert.Zero(t, saved.Status)
				assert.Equal(t, make([]virtio.QueueState, 2), saved.Queues)
			})
		}
		require.NoError(t, restored(t, s, base, nil))
	}
}

// FuzzRestore has a device take over a state with some values replaced, and then a driver attack it: no panic, bounded work.
func FuzzRestore(f *testing.F) {
	for i := range models {
		f.Add(uint8(i), uint8(1), []byte{3, 4, 60, 2}, corpus.Encode(corpus.Scripts[i].Steps))
	}
	f.Fuzz(func(t *testing.T, kind, seed uint8, changes, script []byte) {
		s := busy(t, &models[int(kind)%len(models)], uint64(seed))
		for ; len(changes) > 1; changes = changes[2:] {
			state, _, ok := mutated(t, s, int(changes[0]), values[int(changes[1])%len(values)])
			if !ok || s.m.Restore(state) != nil {
				break
			}
		}
		var steps []corpus.Step
		for step := range corpus.Decode(script[:min(len(script), 1<<10)]) {
			steps = append(steps, step)
		}
		var before, after runtime.MemStats
		state := s.m.Save()
		runtime.ReadMemStats(&before)
		restored(t, s, state, steps)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(len(steps)+100)*64<<10, fmt.Sprint(steps))
	})
}
