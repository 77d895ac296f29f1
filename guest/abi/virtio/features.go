package virtio

// Features of queues and transports, which every kind of device can have (6).
const (
	FeatureIndirectDesc   = 1 << 28
	FeatureEventIndex     = 1 << 29
	FeatureVersion1       = 1 << 32
	FeatureAccessPlatform = 1 << 33
	FeatureRingPacked     = 1 << 34
	FeatureInOrder        = 1 << 35
	FeatureRingReset      = 1 << 40
)
