package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth bounds how deep objects and arrays lie in each other; package encoding/json has the same bound.
const maxDepth = 10000

// checkJSON holds a configuration to what the specification demands of JSON (glossary.md): it is UTF-8, and no object has a name twice, of which
// another reader may take the other value. What else is wrong with it is left to who reads it.
func checkJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("want JSON in UTF-8, found bytes that are none")
	}
	type level struct {
		names map[string]bool // nil in an array
		name  bool            // a name is next
	}
	stack := []level{{}}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil || len(stack) > maxDepth {
			return nil
		}
		top := &stack[len(stack)-1]
		switch token {
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
			continue
		}
		if top.name {
			name := token.(string)
			if top.names[name] {
				return fmt.Errorf("the name %.80q stands twice in an object: want it once", name)
			}
			top.names[name], top.name = true, false
			continue
		}
		top.name = top.names != nil // behind a value
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{map[string]bool{}, true})
		case json.Delim('['):
			stack = append(stack, level{})
		}
	}
}
