package kernel

import "kapsel/guest/kernel/tbf"

// Verdict is what a CredentialsPolicy makes of a credential.
type Verdict uint8

// Verdicts.
const (
	VerdictPass   Verdict = iota // it decides nothing: the next one is looked at
	VerdictAccept                // the object may run
	VerdictReject                // the object may not run
)

// CredentialsPolicy is the board's choice of which objects may run by what vouches for
// them: Tock's AppCredentialsPolicy. The kernel shows it the credentials in an object's
// footers, in order, until it accepts or rejects one.
type CredentialsPolicy interface {
	// Check judges a credential over region, the integrity region: the object's bytes
	// from its start to the end of its binary. The bytes may be read and not kept.
	Check(credential tbf.Footer, region *Region) Verdict
	// Refusal is why an object may not run of whose credentials none was accepted, or "" if it may. signed says that one of them is a
	// signature by ECDSA-P256.
	Refusal(signed bool) string
}

// NoCredentials lets every object run.
type NoCredentials struct{}

// Check implements CredentialsPolicy.
func (*NoCredentials) Check(tbf.Footer, *Region) Verdict { return VerdictAccept }

// Refusal implements CredentialsPolicy.
func (*NoCredentials) Refusal(bool) string { return "" }

// SHA256Credentials lets an object run if the SHA-256 digest among its credentials is
// right. That shows damage; it does not show who made the object. The formats that the
// kernel cannot check, signatures among them, decide nothing.
type SHA256Credentials struct {
	Require bool // an object without a digest may not run
}

// Check implements CredentialsPolicy.
func (*SHA256Credentials) Check(credential tbf.Footer, region *Region) Verdict {
	if credential.Format != tbf.SHA256 {
		return VerdictPass
	}
	if digest := region.SHA256(); string(digest[:]) != string(credential.Data) {
		return VerdictReject
	}
	return VerdictAccept
}

// Refusal implements CredentialsPolicy.
func (p *SHA256Credentials) Refusal(signed bool) string {
	switch {
	case !p.Require:
		return ""
	case signed:
		return "its ECDSA-P256 signature cannot be checked by this kernel; the board requires a SHA-256 digest (elf2tab --sha256)"
	}
	return "it has no credential that the kernel can check, and the board requires one"
}

// hasCredential reports whether policies are asked about the object.
func hasCredential(o *tbf.Object) bool {
	footers := o.Footers()
	for f, ok := footers.Next(); ok; f, ok = footers.Next() {
		if f.Type == tbf.TypeCredential && f.Format != tbf.Reserved {
			return true
		}
	}
	return false
}

// checkCredentials returns why the object may not run, or "".
func (k *Kernel) checkCredentials(o *tbf.Object) string {
	footers, region, signed := o.Footers(), o.Signed(), false
	for {
		f, ok := footers.Next()
		if !ok {
			break
		}
		if f.Type != tbf.TypeCredential || f.Format == tbf.Reserved {
			continue
		}
		signed = signed || f.Format == tbf.ECDSAP256
		switch k.credentials.Check(f, k.region(region)) {
		case VerdictAccept:
			return ""
		case VerdictReject:
			return "a credential does not fit its header and binary: they or it were changed"
		}
	}
	return k.credentials.Refusal(signed)
}
