package vmm

import (
	"context"
	"errors"

	"kapsel/vmm/snapshot"
)

// Time says how a guest's time goes on from a snapshot.
type Time int

// Times.
const (
	// StandStill: the guest's time goes on from where it was.
	StandStill Time = iota
	// GoOn: as much has passed as on the host since the snapshot was taken.
	GoOn
)

// ResetStats count what a Reset did.
type ResetStats struct {
	Pages  int // that were copied back
	Bytes  int // in them
	Ioctls int // calls of KVM
}

// Snapshot takes the machine as it is, which stays so. It waits for the machine.
func (m *Machine) Snapshot() (*snapshot.Snapshot, error) { return nil, errors.ErrUnsupported }

// Reset makes the machine what it was when s was taken. It waits for the machine.
func (m *Machine) Reset(s *snapshot.Snapshot, t Time) (ResetStats, error) {
	return ResetStats{}, errors.ErrUnsupported
}

// Fork makes a machine that is as the one of which s was taken.
func Fork(ctx context.Context, s *snapshot.Snapshot, c Config, t Time) (*Machine, error) {
	return nil, errors.ErrUnsupported
}
