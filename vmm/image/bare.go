package image

import (
	"fmt"
	"os"
	"path/filepath"
)

// bareImage is the file of the kernel without tasks that comes with the command.
const bareImage = "bare.elf"

// FindBare finds the kernel that comes with a command in the directory dir: beside it, or in lib/kapsel beside the directory.
func FindBare(dir string) (string, error) {
	places := []string{filepath.Join(dir, bareImage), filepath.Join(dir, "..", "lib", "kapsel", bareImage)}
	for _, path := range places {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("a task and no image: want the kernel that comes with the command, %q or %q, and found neither: scripts/build makes build/%s; "+
		"or name an image in front of the task", places[0], places[1], bareImage)
}
