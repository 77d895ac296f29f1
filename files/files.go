// Package files is what the commands share about files that a person names.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Words is the text of an error, in which the name of a file that package os could not use stands
// in quotes, as the commands write names: a space or a control character in it is seen, and takes
// no line of its own.
func Words(err error) string {
	text := err.Error()
	var e *fs.PathError
	if errors.As(err, &e) {
		text = strings.Replace(text, e.Error(), fmt.Sprintf("%s %q: %v", e.Op, e.Path, e.Err), 1)
	}
	return text
}
