//go:build kapsel

package main

import "kapsel/guest/arch/amd64"

func main() { amd64.Test() }
