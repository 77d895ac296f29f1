// Package net is a TCP/IP stack for one Ethernet interface: Ethernet, ARP, IPv4, ICMP echo, UDP, a DHCP client, and
// connections of package guest/net/tcp. It runs in a task and under go test unchanged.
//
// A Stack does no I/O, has no clock and never waits. Its owner gives it frames (Input), takes frames from it (Output), and comes
// back when time has passed (Deadline):
//
//	for {
//		for n := receive(frame); n > 0; n = receive(frame) {
//			stack.Input(frame[:n], now())
//		}
//		... read from and write to sockets and connections ...
//		for n := stack.Output(buf, now()); n > 0; n = stack.Output(buf, now()) {
//			send(buf[:n])
//		}
//		... wait for a frame, or until stack.Deadline() ...
//	}
//
// All memory is made before or by Init: MakeSockets and MakeConns make the pools, Init makes a few buffers. Nothing is
// allocated afterwards, whatever arrives. What there is no room for is dropped, and counted by its cause (Counters).
//
// A Stack, its sockets and its connections belong to one thread.
package net
