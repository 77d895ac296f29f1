// Package kvm is the Linux KVM interface (linux/Documentation/virt/kvm/api.rst) as far as
// the monitor uses it, on x86-64. It is the only place with ioctl.
//
// A Device makes VMs, a VM makes VCPUs; each holds one file descriptor until its Close.
// A VCPU belongs to the thread that created it: KVM expects its calls from there.
//
// Pointers become integers only inside the expression that makes the system call, so that
// Go may move stacks at any other time, and guest memory and the shared kvm_run page are
// mapped outside the Go heap.
package kvm
