package labour

// Sample is what the ADC's first channel always has, and Samples how many of it the one that is lost gives.
const (
	Sample  = 1000
	Samples = 3
)
