package main

import (
	_ "github.com/bobuhiro11/gokvm/kvm"
	_ "github.com/bobuhiro11/gokvm/machine"
	_ "github.com/bobuhiro11/gokvm/pvh"
	_ "github.com/bobuhiro11/gokvm/vmm"
	_ "github.com/stretchr/testify/assert"
	_ "github.com/stretchr/testify/require"
	_ "github.com/u-root/u-root/pkg/cpio"
	_ "golang.org/x/sys/unix"
)

func main() {}
