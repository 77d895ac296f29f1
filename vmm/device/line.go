package device

// The UART's line can be shared with another console of the same machine. What that one sends goes out in turn with
// what the UART does, and while its driver is there what is typed goes to it.

// Divert gives what is typed to another device, whose wake is called when there is something to fetch, and when there is
// room for what Offer did not take. What the guest has not read from the UART yet goes along, and comes back with Divert
// of nil. wake may not call the UART.
func (s *Serial) Divert(wake func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.other, s.short = wake, false
	// In loopback the guest reads what it sent. By that a guest could make the queue longer each time: once it is full what is
	// in the FIFO stays there.
	if wake != nil && s.mcr&mcrLoop == 0 && len(s.queue) <= queueSize {
		s.queue = append(s.fifo[:s.fifoLen:s.fifoLen], s.queue...)
		s.fifoLen = 0
	}
	s.receive()
	s.update()
	s.wake()
}

// wake tells the other device that there is something to fetch.
func (s *Serial) wake() {
	if s.other != nil && len(s.queue) > 0 {
		s.other()
	}
}

// wakeShort tells the other device that there is room again.
func (s *Serial) wakeShort() {
	if s.other != nil && s.short {
		s.short = false
		s.other()
	}
}

// Fetch moves what was typed to p, as much as there is, and returns how much. It is for the device that has the input.
func (s *Serial) Fetch(p []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := copy(p, s.queue)
	s.queue = s.queue[:copy(s.queue, s.queue[n:])]
	if n > 0 {
		s.space.Broadcast()
	}
	return n
}

// Offer puts as much of p behind what goes out as there is room for, and returns how much. When the guest's output is
// not wanted any more there is room for all.
func (s *Serial) Offer(p []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.out != nil:
		s.out.Write(p)
		return len(p)
	case s.finished:
		return len(p)
	}
	n := min(len(p), outputSize-len(s.output))
	s.output = append(s.output, p[:n]...)
	s.short = n < len(p)
	if n > 0 {
		s.sent.Signal()
	}
	return n
}

// Await waits until Offer has room.
func (s *Serial) Await() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.out == nil && len(s.output) == outputSize && !s.finished {
		s.room.Wait()
	}
}
