package virtio

// State is all that a device remembers of its driver while it is paused: MMIO.Save. Addresses are physical ones of the guest's.
type State struct {
	ID                uint32       `json:"id"`         // the kind of device
	Status            uint32       `json:"status"`     // without DEVICE_NEEDS_RESET
	NeedsReset        bool         `json:"needsReset"` // the driver broke the device
	DeviceFeaturesSel uint32       `json:"deviceFeaturesSel"`
	DriverFeaturesSel uint32       `json:"driverFeaturesSel"`
	DriverFeatures    uint64       `json:"driverFeatures"`  // that it accepted
	UnknownFeatures   bool         `json:"unknownFeatures"` // it accepted some from bit 64 on
	QueueSel          uint32       `json:"queueSel"`
	InterruptStatus   uint32       `json:"interruptStatus"`
	ConfigGeneration  uint32       `json:"configGeneration"`
	ConfigChanged     bool         `json:"configChanged"` // while the device was paused: the driver is to be told
	Queues            []QueueState `json:"queues"`

	// Of each kind that remembers something only its own is there, and that only in a session of a device that is not broken.
	Console *ConsoleState `json:"console,omitempty"`
	Ports   *PortsState   `json:"ports,omitempty"`
	GPIO    *GPIOState    `json:"gpio,omitempty"`
	Net     *NetState     `json:"net,omitempty"`
}

// QueueState is a queue's state: its registers, and how far the device is.
type QueueState struct {
	Size   uint32 `json:"size"`
	Desc   uint64 `json:"desc"`
	Driver uint64 `json:"driver"` // the available ring's address
	Device uint64 `json:"device"` // the used ring's
	Ready  bool   `json:"ready"`

	Next  uint16   `json:"next"`            // index of the next request to take
	Seen  uint16   `json:"seen"`            // the available index when it was read last
	Used  uint16   `json:"used"`            // index behind the last request given back
	Again []uint16 `json:"again,omitempty"` // heads to take before that at Next: those in flight when another queue was stopped
}

// ChainState is a request that a device has taken and not given back: what it read of the descriptors then, less what it has
// moved since.
type ChainState struct {
	Head        uint16       `json:"head"`
	Descriptors int          `json:"descriptors"`
	Read        uint64       `json:"read"`    // bytes that the device read
	Written     uint64       `json:"written"` // and wrote
	Readable    []PieceState `json:"readable,omitempty"`
	Writable    []PieceState `json:"writable,omitempty"`
}

// PieceState is the physical addresses [Address, Address+Length) of a chain.
type PieceState struct {
	Address uint64 `json:"address"`
	Length  uint64 `json:"length"`
}

// ConsoleState is a Console's state.
type ConsoleState struct {
	Columns uint16       `json:"columns"`
	Rows    uint16       `json:"rows"`
	Room    *ChainState  `json:"room,omitempty"`    // for what is typed
	Sending *ChainState  `json:"sending,omitempty"` // of which the line has not taken all
	Untaken []PieceState `json:"untaken,omitempty"` // what it has not
}

// PortsState is a Ports' state.
type PortsState struct {
	Told  *ChainState `json:"told,omitempty"` // room for a control message
	Ports []PortState `json:"ports"`
}

// PortState is the state of a port.
type PortState struct {
	Owes    uint16       `json:"owes"`  // control messages that the driver is to get, a bit for each event
	Ready   bool         `json:"ready"` // the driver uses it
	Open    bool         `json:"open"`  // the driver's side is
	Ended   bool         `json:"ended"` // the driver was told that the host's side is not, or is to be
	Room    *ChainState  `json:"room,omitempty"`
	Sending *ChainState  `json:"sending,omitempty"`
	Untaken []PieceState `json:"untaken,omitempty"`
}

// GPIOState is a GPIO's state.
type GPIOState struct {
	Lines []GPIOLineState `json:"lines"`
}

// GPIOLineState is the state of a line.
type GPIOLineState struct {
	Direction uint8       `json:"direction"`
	IRQ       uint8       `json:"irq"`
	Output    bool        `json:"output"`          // the level that the driver set
	Shown     bool        `json:"shown"`           // the level that the outside was told of
	Input     bool        `json:"input"`           // the level from outside that the driver can know of
	Changes   int         `json:"changes"`         // of it, that wait for the driver
	Event     *ChainState `json:"event,omitempty"` // lent for an interrupt
}

// NetState is a Net's state.
type NetState struct {
	Room *ChainState `json:"room,omitempty"` // for a frame
}
