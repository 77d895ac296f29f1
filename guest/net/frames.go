package net

// Numbers of frames in the stack's own buffers, which hold answers until Output takes them, and what waits for ARP.
const (
	frameBuffers  = 8
	waitingFrames = 4 // of them, so that there are always buffers for answers
)

// A frameState is what a buffer is for.
type frameState uint8

const (
	frameFree    frameState = iota
	frameReady              // to be sent
	frameWaiting            // for the hardware address of its hop
)

// A frame is a buffer for one, with a datagram behind the room for its Ethernet header.
type frame struct {
	state     frameState
	addressed bool    // the Ethernet header is there
	hop       Address // to whom, if it is not
	order     uint32  // frames leave in the order in which they were made
	length    int
	data      []byte
}

// take returns a buffer for a frame that is to be sent, or nil.
func (s *Stack) take() *frame {
	for i := range s.frames {
		if f := &s.frames[i]; f.state == frameFree {
			s.order++
			f.state, f.addressed, f.order = frameReady, false, s.order
			return f
		}
	}
	return nil
}

// answer returns a buffer with the header of a datagram that answers somebody, and room for so many bytes; nil if there is no buffer
// or no way back.
func (s *Stack) answer(to Address, protocol uint8, length int) *frame {
	hop, ok := s.route(to)
	if !ok {
		return nil
	}
	f := s.take()
	if f == nil {
		return nil
	}
	putIPv4(f.data[ethernetSize:], s.address, to, protocol, length)
	f.hop, f.length = hop, ethernetSize+ipv4Size+length
	return f
}

// oldest returns the frame of a state that was made first, or nil.
func (s *Stack) oldest(state frameState) *frame {
	var first *frame
	for i := range s.frames {
		f := &s.frames[i]
		if f.state == state && (first == nil || int32(f.order-first.order) < 0) {
			first = f
		}
	}
	return first
}

// outputFrames writes the next frame that is ready.
func (s *Stack) outputFrames(buf []byte, now Time) int {
	for f := s.oldest(frameReady); f != nil; f = s.oldest(frameReady) {
		if !f.addressed {
			hardware, ok := s.resolve(f.hop, now)
			if !ok {
				s.wait(f)
				continue
			}
			putEthernet(f.data, ethernetHeader{hardware, s.hardware, typeIPv4})
		}
		f.state = frameFree
		return copy(buf, f.data[:f.length])
	}
	return 0
}

// wait has a frame wait for an address. The oldest makes room: what is new is worth more (RFC 1122, 2.3.2.2).
func (s *Stack) wait(f *frame) {
	f.state = frameWaiting
	waiting := 0
	for i := range s.frames {
		if s.frames[i].state == frameWaiting {
			waiting++
		}
	}
	if waiting > waitingFrames {
		s.oldest(frameWaiting).state = frameFree
		s.drop(OutDisplaced)
	}
}

// release sends what waited for an address.
func (s *Stack) release(hop Address) {
	for i := range s.frames {
		if f := &s.frames[i]; f.state == frameWaiting && f.hop == hop {
			f.state = frameReady
		}
	}
}

// dropWaiting drops what waits for an address.
func (s *Stack) dropWaiting(hop Address) {
	for i := range s.frames {
		if f := &s.frames[i]; f.state == frameWaiting && f.hop == hop {
			f.state = frameFree
			s.drop(OutUnresolved)
		}
	}
}

// send makes a frame of the data of a datagram, which lies in buf behind the room for the headers, and returns its length. Without the next hop's
// hardware address the frame waits in the stack, and what is in buf is the request for that address, if it is time for one.
func (s *Stack) send(buf []byte, to Address, protocol uint8, length int, now Time) int {
	hop, ok := s.route(to)
	if !ok {
		s.drop(OutNoRoute)
		return 0
	}
	putIPv4(buf[ethernetSize:], s.address, to, protocol, length)
	length += ethernetSize + ipv4Size
	hardware, ok := s.resolve(hop, now)
	if ok {
		putEthernet(buf, ethernetHeader{hardware, s.hardware, typeIPv4})
		return length
	}
	if f := s.take(); f != nil {
		f.hop, f.length = hop, copy(f.data, buf[:length])
		s.wait(f)
	} else {
		s.drop(OutDisplaced)
	}
	return s.outputARP(buf, now)
}
