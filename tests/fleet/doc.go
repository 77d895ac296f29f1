// Package fleet drives container engines with Kapsel as their runtime: podman, Docker, containerd by ctr, and containerd's CRI plugin by the client in folder cri, which is a
// module of its own. Each runs the same image, of the task tests/guest/passenger. scripts/test builds what it needs and runs it as root.
package fleet
