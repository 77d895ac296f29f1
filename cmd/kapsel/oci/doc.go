// Package oci is "kapsel oci": an OCI runtime (opencontainers/runtime-spec 1.3.0, runtime.md) with runc's command line, which engines call.
//
// The monitor is the container's process. create starts this program again, as "kapsel oci init", in the container's namespaces and cgroup; that waits at the FIFO
// exec.fifo until start opens it, and then executes "kapsel run" in its own place, with a command line that package bundle has made, and
// the interface that the engine has given the container by then. What create and init say to each other
// goes through a socket, message by message; when create ends before it has done all, so does init.
//
// State is a directory of each container below --root, with state.json, exec.fifo and, of a container that is runc's, the file foreign. It is locked (flock(2))
// by create, start and delete, so that two of them at once come one after the other, and that the lock ends with its holder. state, list and kill take no lock: they are to
// answer while a hook runs. Whether a process runs is asked of the kernel, and whether it waits for start is seen by its command line.
//
// # Properties of config.json
//
// Applied to the container's process, which is the monitor: namespaces, uidMappings, gidMappings, timeOffsets, cgroupsPath, resources, sysctl, hostname, domainname, hooks,
// annotations (package bundle), and of process: terminal, consoleSize, user, capabilities, rlimits, oomScoreAdj, noNewPrivileges, args and env (which are the tasks'). Some of that differs from runc:
//
//   - A user namespace and one of time can be made, not joined: no process of several threads can. The mappings of a user namespace have containerID 0.
//   - capabilities: if the machine is at an interface of the network namespace (--net link), the monitor has CAP_NET_ADMIN and CAP_NET_RAW besides, to take it.
//   - user: the process stays in the group of /dev/kvm where that is what opens it. In a user namespace additionalGids have no effect.
//   - Signals of kill reach the monitor: SIGTERM asks the guest to end. Tasks have no signals of the host's.
//   - --preserve-fds, --no-pivot and --no-new-keyring are accepted and do nothing: a guest has no files of the host's, the monitor stays in the host's file system, confined by landlock, and there are no keys.
//
// Without effect, for they are about a program that sees the host's kernel and the root file system, and tasks of a guest see neither: root.readonly, rootfsPropagation,
// maskedPaths, readonlyPaths, mounts other than volumes that are disks, devices, seccomp (the monitor has a filter of its own), apparmorProfile, selinuxLabel, mountLabel, personality, process.cwd,
// and of process scheduler, ioPriority and execCPUAffinity.
//
// Refused: netDevices, intelRdt, memoryPolicy, a sysctl, hostname or domainname that would be the host's.
package oci
