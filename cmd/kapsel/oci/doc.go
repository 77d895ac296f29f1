// Package oci is "kapsel oci": an OCI runtime (opencontainers/runtime-spec, runtime.md) with runc's command line.
package oci
