package abi

// Version is the release of Kapsel that the kernel, the monitor and the tools belong to.
const Version = "0.1.0"
