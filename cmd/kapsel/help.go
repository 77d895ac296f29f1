package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
)

// commands are the names of the commands.
var commands = []string{"run", "call", "snapshot", "serve", "load", "unload", "tasks", "pause", "resume", "kill", "save", "restore", "bench", "oci", "disk", "doctor", "version", "help"}

// helpFor returns what helpText says of a command, which is one of commands: how it is used, and
// the sections that are about it.
func helpFor(command string) string {
	var help []string
	for _, s := range helpSections() {
		switch heading := s[0]; {
		case heading == "usage:":
			help = append(help, heading)
			help = append(help, usageOf(command, s[1:])...)
		case strings.Contains(heading, " of "+command), heading == "console:" && command == "run":
			help = append(help, "")
			help = append(help, s...)
		}
	}
	return strings.Join(help, "\n") + "\n"
}

// helpSections splits helpText into its sections: a heading, which begins in the first column,
// and the lines below it.
func helpSections() [][]string {
	var sections [][]string
	for line := range strings.SplitSeq(helpText, "\n") {
		switch {
		case line == "":
		case line[0] != ' ':
			sections = append(sections, []string{line})
		default:
			last := &sections[len(sections)-1]
			*last = append(*last, line)
		}
	}
	return sections
}

// usageOf returns the lines of the section usage that begin with a command, with those that
// continue them.
func usageOf(command string, lines []string) []string {
	var of []string
	mine := false
	for _, line := range lines {
		if words := strings.Fields(line); words[0] == "kapsel" {
			mine = words[1] == command
		}
		if mine {
			of = append(of, line)
		}
	}
	return of
}

// helpCommand is "kapsel help": it returns all help, or that for a command.
func helpCommand(args []string) (string, error) {
	topics, err := parseMixed(newFlags("help"), args)
	switch {
	case errors.Is(err, flag.ErrHelp), err == nil && len(topics) == 0:
		return helpText, nil
	case err != nil:
		return "", err
	case len(topics) > 1:
		return "", fmt.Errorf("unexpected argument %q", topics[1])
	case !slices.Contains(commands, topics[0]):
		return "", noCommand(topics[0])
	}
	return helpFor(topics[0]), nil
}

// noCommand is the error for a name that is none of a command.
func noCommand(name string) error {
	last := len(commands) - 1
	return fmt.Errorf("no command %q: want %s or %s", name, strings.Join(commands[:last], ", "), commands[last])
}

// helpText is all of kapsel's help. A section whose heading has "of" and a command is about that.
const helpText = `kapsel boots Kapsel images in a virtual machine.

usage:
  kapsel run [flags] IMAGE [TASK...] [-- ARG...]
                                           boot IMAGE; further tasks ride along: .tbf files,
                                           and .tab files with an object for x86. Without an
                                           image the kernel beside kapsel is booted (bare.elf);
                                           tasks can read the ARGs
  kapsel run [flags] --linux VMLINUZ       boot a stock Linux in the same machine, to test its
                                           devices, and to compare system calls
  kapsel run [flags] --from DIR            go on with the machine of a snapshot
  kapsel call [flags] --service NAME IMAGE [TASK...]
                                           call a task that serves: standard input is the request,
                                           the reply goes to standard output
  kapsel snapshot [flags] -o DIR IMAGE [TASK...]
                                           boot, until no task has anything to do, and save the
                                           machine in DIR, as an OCI image layout
  kapsel serve [flags] --listen ADDRESS IMAGE [TASK...]
                                           answer calls over HTTP, each in a sandbox of its own:
                                           POST /call/NAME, GET /metrics, GET /healthz
  kapsel load --control PATH TASK...       load tasks into a machine that runs, of kapsel run
                                           with --control PATH
  kapsel unload --control PATH NAME...     unload tasks by name or PID: their memory is given back
  kapsel tasks --control PATH              list its tasks
  kapsel pause --control PATH NAME...      keep tasks from running, by name or PID
  kapsel resume --control PATH NAME...     let them go on from where they stood
  kapsel kill --control PATH NAME...       end tasks, as faults do
  kapsel save --control PATH NAME FILE     write a task's state to FILE: its memory, its registers,
                                           what it has with drivers; it goes on behind that
  kapsel restore --control PATH NAME FILE  make the task again what it was when that was written
  kapsel bench [flags] [IMAGE]             measure an image built for it (default bench.elf
                                           beside kapsel), in Go benchmark format
  kapsel bench --compare OLD NEW           compare two files of results, of either form
  kapsel oci [flags] VERB [flags] [ID]     be an OCI runtime for podman, containerd and others: runc's
                                           command line; the name kapsel-oci does the same
  kapsel disk format [flags] FILE          make FILE an empty storage, which tasks keep data on
  kapsel disk show FILE                    tell what is on a storage: regions, owners, damage
  kapsel doctor [--accel NAME]             say what this host can do, and what to do about it
  kapsel version                           say which release this is
  kapsel help [COMMAND]                    show this text, or what is about a command alone

flags of run, anywhere on the line:
  --accel auto|kvm|qemu   what runs the machine (default auto: KVM if it is that of VT-x or
                          SVM, or a short program with SSE and a system call works in it, else QEMU)
  --mem SIZE              the machine's memory: bytes, or with K, M or G (default 64M)
  --timeout TIME          end the machine after TIME: 30s, 2m (default: never)
  --watchdog TIME         a kernel that keeps the processor for TIME gets NMIs: a capsule that
                          does not return is ended, the kernel panics, with function, file
                          and line (default 10s; 0: never, else 100ms or more); a task may
                          compute for as long as it likes
  --cmdline TEXT          the kernel's command line: boot-ticks, console, no-dump, fault=...,
                          scheduler=..., credentials=..., identity=..., management=...,
                          capsules=..., mitigations=... (see README.md)
  --env NAME=VALUE        a variable that tasks can read. May be repeated; with the ARGs behind --
                          they have at most 64K, and a machine from a snapshot has that one's
  --env-from FILE         variables of FILE, a zero byte behind each: other users of the host
                          read a command line, but not a file
  --disk FILE[,WORD]      a virtio block device: a raw image, or a block device of the host;
                          ro: the guest cannot write to it, and others may read it, too;
                          private[=SIZE]: what it writes is kept aside, in memory, and FILE stays
                          as it is: SIZE at most (default 64M); needs KVM.
                          May be repeated; tasks keep data on the first, if kapsel disk
                          format made it: docs/storage.md
  --net user[,WORD...]    a virtio network device in user mode: a network of the command's own,
                          from which nothing is reached but what words allow:
                          allow=HOST:PORTS      as example.com:443, 10.0.0.0/8:*, *:*
                          forward=tcp:8080:80   port 8080 of 127.0.0.1 leads to the guest's 80;
                                                or udp:5353:53, or of another address, as
                                                tcp:0.0.0.0:8080:80, tcp:[::]:8080:80
  --net tap=NAME          one at a TAP interface of the host
  --net link=NAME[,dns=ADDRESS]
                          one that is an interface of the host, as a container's eth0: the guest
                          gets its addresses, and the host nothing of what comes by it
  --net unix=PATH         one at a unix datagram socket, as another kapsel's
                          further words: pcap=FILE, and but for link mac=52:54:00:12:34:56
  --rng                   a virtio entropy device, which gives the guest the host's random bytes
  --console uart|virtio   virtio: a virtio console device beside the UART, which takes less
                          to print much (default uart)
  --port NAME,WORD...     a named port: a stream of bytes between the guest and, by words,
                          in=FILE out=FILE   what comes from, and goes to, files or terminals
                          unix=PATH          a program that listens at a unix stream socket
                          At most 8 ports, with those of the next flags
  --adc FILE              an analog-to-digital converter with the values of FILE: docs/devices.md
  --dac FILE              a digital-to-analog converter, whose values go to FILE, a line each
  --buzzer                a buzzer, which is told of on standard error
  --screen FILE           a text screen: FILE has its rows, or is a terminal that shows them
  --control unix:PATH     make a unix socket, for the user alone, by which kapsel load and
                          its like reach the machine, which then stays up without tasks
  --ask                   at the first SIGTERM tasks that want to be told are asked to end, and the
                          machine ends when they have; without such a task, and at the second,
                          it ends at once, as at any without --ask. With --from this is so if the
                          machine was saved with it
  --ready FD              write {"ready":true} to the file descriptor FD, above 2, and close it, when
                          signals reach the command
  --gpio[=WORD,...]       a virtio GPIO device: 4 LEDs, 4 buttons and 8 pins, whose changes are
                          lines on standard error, as "gpio: led 0 on". KVM alone has it
                          json=FILE     the changes are JSON, in FILE; - is standard error
                          script=FILE   buttons are pressed, and pins driven, by a script:
                                        docs/devices.md
  --confine on|off        on: once the machine is made, the command confines itself, by landlock and
                          seccomp, to what is open and what the flags above need. The default is
                          on as far as the host can, with a warning; on itself fails where it
                          cannot. off: to debug the command. QEMU confines itself in any case
  --break ADDR[,ADDR...]  stop before the instruction at a virtual address, in hexadecimal,
                          and show the processor's state; at most 4. KVM alone does, and
                          not in a machine that is emulated itself. The kernel's addresses
                          are in "go tool nm build/kernel.elf"
  --linux VMLINUZ         boot this kernel (a bzImage, as Debian's) in the place of an image.
                          KVM alone does. It has 256M unless --mem says otherwise, and no
                          watchdog; --cmdline comes behind "console=ttyS0 reboot=t panic=-1
                          pci=off ..."; power off is status 0, a reboot or panic 125
  --initrd FILE           with --linux: the archive that becomes its first file system
  --from DIR              go on with the machine in DIR, which kapsel snapshot has saved, in the
                          place of an image: with its memory and command line. KVM alone does.
                          Disks, a network and a board are given by the flags above, as when
                          it was saved; what else it had it has again. Nobody serves or calls its
                          tasks, and it stays up when they have ended
  --clock WORD            with --from: the guest's time goes on from where it stood (stand-still, the
                          default), or from the host's (go-on)
  -v                      say what is going on, on standard error

flags of call, of snapshot and of serve, which need KVM; sizes are bytes, or with K, M or G:
  --from DIR              in the place of IMAGE and tasks: what kapsel snapshot has saved in DIR
  --mem SIZE              a machine's memory (default 64M)
  --cmdline TEXT          the kernel's command line
  --env NAME=VALUE, --env-from FILE, -- ARG...
                          as of run
  --rng                   a virtio entropy device. Without, tasks have no random numbers
  --timeout TIME          a call may take TIME (default 10s)
  --payload SIZE          a request and an answer may have SIZE (default 64K, at most 1M)
  --output SIZE           a guest may print SIZE in a call (default 64K)
  -v                      say what is going on, on standard error, and what guests print
  --disk FILE[,WORD]      as of run. Of a machine that is saved, goes on from a snapshot, or serves,
                          a disk is ro or private: what is written to a file is not taken back
  --confine on|off        as of run, before a guest runs
flags of call and of snapshot:
  --service NAME          what is called: a task serves under its name. Of snapshot it is called once
                          before the machine is saved, and its reply is dropped
  --net user[,WORD...]    a network, as of run. A machine from a snapshot has the devices that it had
flags of snapshot:
  -o DIR                  where the snapshot goes: no directory yet, an empty one, or a snapshot,
                          which is replaced
flags of call and of serve:
  --clock WORD            as of run
flags of serve:
  --listen unix:PATH      make a unix socket, for the user alone, or listen at HOST:PORT: there is no
                          authentication, so 127.0.0.1 is for all of this host
  --sandboxes N           so many calls are at work at a time (default 4, at most 200)
  --queue N               so many more wait, 5s at most, and others are refused (default 64, at
                          most 1000)
  --grace TIME            what is open when the command is to end has TIME to end (default 10s)

flags of bench:
  --accel auto|kvm|qemu   as of run. KVM gives cycles, exits and, where the host counts them,
                          instructions; QEMU counts instructions alone, the same each time
  --mem SIZE              as of run, for the image that measures
  --count N               boot N times (default 1); 6 or more for a comparison that is tested
  --run REGEXP            write the paths whose names fit
  --json, --table         write JSON with all samples, or a table, in place of benchmark lines
  --plot FOLDER           make a plot (SVG) of each path's distribution
  -o FILE                 write to FILE in place of standard output
  --golden FILE           compare QEMU's counts with FILE: more than 2 % above fails
  --update                write what --golden names anew
  --small IMAGE           find the least memory that IMAGE, with two tasks, runs in (default
                          two.elf beside kapsel)
  --model                 measure nothing: have llvm-mca model the cycles of each path's
                          instructions, as QEMU logs them (docs/benchmarks.md)
  --timeout TIME          end a boot after TIME (default 10m)
  -v                      say what is going on, on standard error

verbs of oci, with their flags: docs/oci.md has what is done with which property of config.json
  create ID               make a container of a bundle, whose process waits for start:
                          --bundle DIR (default .), --pid-file FILE, --console-socket PATH
  start ID                run it
  run ID                  create and start it, wait for its end, and delete it, with create's flags and
                          --detach: do not wait, --keep: do not delete it
  state ID                print what it is, as JSON
  kill ID [SIGNAL]        send it a signal (default TERM); --all: all processes of its cgroup
  delete ID               remove one that is stopped; --force: any, and what is left of one
  list                    list the containers; --format table|json, --quiet
  features                print what the runtime can do, as JSON
flags of oci, in front of the verb:
  --root DIR              where the containers' state is (default /run/kapsel)
  --log FILE              append warnings and errors to FILE, with --debug steps, too
  --log-format text|json  its format (default text)
  --systemd-cgroup        cgroupsPath is SLICE:PREFIX:NAME
  --version               say which release this is, and which version of the specification

flags of disk format, whose sizes are bytes, or with K, M or G:
  --size SIZE             the storage's size, and so the file's (default: the file's, or 64M
                          for one that is new)
  --region-size SIZE      what each owner gets of nonvolatile storage: tasks with one write
                          identifier are one (default 1M)
  --kv-size SIZE          what the keys and values of all tasks get (default 1M)
  --force                 overwrite FILE though it is neither empty nor all zeroes

console:
  What the guest prints goes to standard output; standard input goes to the guest. On a
  terminal every key does, Ctrl-C too, but these:
  Ctrl-A x        leave
  Ctrl-A h        show these keys
  Ctrl-A 1 to 4   with --gpio: press button 0 to 3, or release it
  Ctrl-A Ctrl-A   send Ctrl-A to the guest

exit status of run, the guest's own first; tasks that are skipped at load do not count:
  0          every task ended with exit code 0
  1 to 99    the first task's exit code that is not 0 (above 99 or below 0: 99)
  100        a fault stopped a task
  101        the kernel panicked
  102        the kernel could not boot
  103        there was no task to run
  104        every task ended with exit code 0, but a capsule that failed stayed off
  105 to 127 reserved for the guest, but 122 to 125 are the monitor's
exit status of run, the monitor's own:
  2          the command line, the image or a device cannot be used, which is said in one
             line; a task's exit code may be 2 as well
  122        the kernel hung, and did not end when the watchdog told it to; the processor's
             state is on standard error
  123        stopped at a --break; the processor's state is on standard error
  124        ended by --timeout; the processor's state is on standard error
  125        the monitor, QEMU or the host failed, or the guest's processor shut down or was reset
  130        left with Ctrl-A x; in general 128+n when ended by signal n
exit status of call and of snapshot:
  0          the service has answered; the snapshot is saved
  1          no task serves under this name, it answered with an error, or a payload is too large
  2          the command line, the image, the snapshot or a device cannot be used
  100        the task faulted, ended, or went beyond its memory or --output
  124        the call took longer than --timeout
  125        KVM, the host or the guest's kernel failed, or the reply could not be written
  128+n      ended by signal n
exit status of serve:
  0 when a signal has ended it; 2 if the command line, the image, the snapshot or the address cannot
  be used; 125 if the host failed, or calls had to be cut off at the end; before it serves as of call
exit status of load, of unload, of tasks, of pause, of resume, of kill, of save and of restore:
  0; 1 if the kernel refuses, as where no task has that name; 2 if the command line or a file
  cannot be used; 125 if the machine cannot be reached
exit status of bench:
  0, or 1 if a path does not stand as in the golden file; 2, 124, 125 and 128+n as of run
exit status of oci:
  0, or 1 if the verb fails; of run the container's; of a container that is runc's what runc says
exit status of disk:
  0, or 1 if show finds damage by which data is lost; 2 if the command line or FILE cannot be
  used: it is in use, no storage, or holds what format does not overwrite
exit status of doctor:
  0 if what --accel names works here (default auto: either), else 1
`
