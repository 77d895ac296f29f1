// Package onepage boots guests of one page, each a single fault or a single thing that
// works, in a real KVM. Their code is plain integer code in ring 0, so that a KVM in software
// runs them too.
package onepage
