package tcp_test

import (
	"fmt"
	"strings"
	"testing"
)

// established is a connection of a peer with ISS 500, a window of 10,000 and a MSS of 1,000.
const established = `
	accept S 500:500 win 10000 mss 1000
	> S. 100:100 ack 501 win 4096 mss 1000
	< . 501:501 ack 101 win 10000
	state ESTABLISHED
`

func TestRFC(t *testing.T) {
	for _, tt := range []struct{ name, script string }{
		{"9293 3.5: three-way handshake, active", `
			connect
			> S 100:100 win 4096 mss 1000
			state SYN-SENT
			< S. 500:500 ack 101 win 10000 mss 1460
			> . 101:101 ack 501 win 4096
			state ESTABLISHED
			never`},
		{"9293 3.5: passive; a MSS of its own is told", `
			accept S 500:500 win 10000 mss 400
			> S. 100:100 ack 501 win 4096 mss 1000
			state SYN-RECEIVED
			< . 501:501 ack 101 win 10000
			state ESTABLISHED
			write 500
			> . 101:501 ack 501 win 4096
			< . 501:501 ack 501 win 10000
			> P. 501:601 ack 501 win 4096`},
		{"9293 3.5: simultaneous open", `
			connect
			> S 100:100 win 4096 mss 1000
			< S 500:500 win 10000 mss 1000
			> S. 100:100 ack 501 win 4096 mss 1000
			state SYN-RECEIVED
			< S. 500:500 ack 101 win 10000 mss 1000
			> . 101:101 ack 501 win 4096
			state ESTABLISHED`},
		{"9293 3.5: data is written before the handshake, and closed", `
			connect
			> S 100:100 win 4096 mss 1000
			write 10
			close
			state SYN-SENT
			< S. 500:500 ack 101 win 10000
			> FP. 101:111 ack 501 win 4096
			state FIN-WAIT-1`},
		{"9293 3.7.1: without the option the MSS is 536", `
			accept S 500:500 win 10000
			> S. 100:100 ack 501 win 4096 mss 1000
			< . 501:501 ack 101 win 10000
			write 1100
			> . 101:637 ack 501 win 4096
			> . 637:1173 ack 501 win 4096
			< . 501:501 ack 1173 win 10000
			> P. 1173:1201 ack 501 win 4096`},
		{"a MSS of a few bytes is taken as 64", `
			accept S 500:500 win 10000 mss 1
			> S. 100:100 ack 501 win 4096 mss 1000
			< . 501:501 ack 101 win 10000
			write 64
			> P. 101:165 ack 501 win 4096`},
		{"9293 3.10.7.3: an unacceptable acknowledgment in SYN-SENT is reset", `
			connect
			> S 100:100 win 4096 mss 1000
			< S. 500:500 ack 100 win 10000
			> R 100:100 win 0
			< . 500:500 ack 102 win 10000
			> R 102:102 win 0
			state SYN-SENT
			< R. 500:500 ack 102
			state SYN-SENT`},
		{"9293 3.10.7.3: refused; a reset without the acknowledgment is not", `
			connect
			> S 100:100 win 4096 mss 1000
			< R 500:500
			state SYN-SENT
			< R. 0:0 ack 101
			state CLOSED
			error refused
			never`},
		{"9293 3.10.7.4: a wrong acknowledgment in SYN-RECEIVED is reset", `
			accept S 500:500 win 10000
			> S. 100:100 ack 501 win 4096 mss 1000
			< . 501:501 ack 300 win 10000
			> R 300:300 win 0
			state SYN-RECEIVED`},
		{"9293 3.10.7.4: a reset or another SYN ends SYN-RECEIVED", `
			accept S 500:500 win 10000
			> S. 100:100 ack 501 win 4096 mss 1000
			< R 501:501
			state CLOSED
			error reset
			accept S 500:500 win 10000
			> S. 100:100 ack 501 win 4096 mss 1000
			< S 700:700 win 10000
			state CLOSED`},
		{"a SYN again gets SYN and ACK again", `
			accept S 500:500 win 10000
			> S. 100:100 ack 501 win 4096 mss 1000
			< S 500:500 win 10000
			> S. 100:100 ack 501 win 4096 mss 1000
			state SYN-RECEIVED`},
		{"a SYN and ACK again gets an acknowledgment", `
			connect
			> S 100:100 win 4096 mss 1000
			< S. 500:500 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			< S. 500:500 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			state ESTABLISHED`},
		{"9293 3.4: sequence numbers wrap", `
			accept S 4294967290:4294967290 win 10000
			> S. 100:100 ack 4294967291 win 4096 mss 1000
			< . 4294967291:4294967291 ack 101 win 10000
			< P. 4294967291:5 ack 101 win 10000
			+200ms
			> . 101:101 ack 5 win 4086
			read 10`},
		{"9293 3.4: acceptability; outside the window is answered and dropped", established + `
			< P. 4597:4607 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			< P. 400:500 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			readable 0`},
		{"9293 3.4: what overlaps the window on the left is cut", established + `
			< P. 401:601 ack 101 win 10000
			> . 101:101 ack 601 win 3996
			read 100`},
		{"9293 3.4: and on the right", established + `
			< P. 4000:5000 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			< P. 501:4000 ack 101 win 10000
			> . 101:101 ack 4597 win 0
			readable 4096`},
		{"5961 3.2: a reset at the expected number resets", established + `
			< P. 501:511 ack 101 win 10000
			< R 511:511
			state CLOSED
			error reset
			read 10
			never`},
		{"5961 3.2: a reset elsewhere in the window is challenged, outside dropped", established + `
			< R 502:502
			> . 101:101 ack 501 win 4096
			< R 500:500
			< R 4598:4598
			state ESTABLISHED`},
		{"5961 4.2: a SYN anywhere is challenged", established + `
			< S 501:501 win 1000
			> . 101:101 ack 501 win 4096
			< S 100000:100000 win 1000
			> . 101:101 ack 501 win 4096
			state ESTABLISHED`},
		{"5961 5.2: an acknowledgment of what was never sent, or long ago, is challenged", established + `
			< P. 501:511 ack 102 win 10000
			> . 101:101 ack 501 win 4096
			readable 0
			< P. 501:511 ack 4294957300 win 10000
			> . 101:101 ack 501 win 4096
			readable 0
			< P. 501:511 ack 50 win 10000
			readable 10`},
		{"5961 7: ten challenges in five seconds", established + `
			< S 501:501 win 1000
			> . 101:101 ack 501 win 4096
			< S 501:501 win 1000
			> . 101:101 ack 501 win 4096
			< S 501:501 win 1000
			> . 101:101 ack 501 win 4096
			< S 501:501 win 1000
			> . 101:101 ack 501 win 4096
			< S 501:501 win 1000
			> . 101:101 ack 501 win 4096
			< S 501:501 win 1000
			> . 101:101 ack 501 win 4096
			< S 501:501 win 1000
			> . 101:101 ack 501 win 4096
			< R 502:502
			> . 101:101 ack 501 win 4096
			< R 502:502
			> . 101:101 ack 501 win 4096
			< . 400:400 ack 101 win 1000
			> . 101:101 ack 501 win 4096
			< S 501:501 win 1000
			< R 502:502
			< . 400:400 ack 101 win 1000
			+5s
			< S 501:501 win 1000
			> . 101:101 ack 501 win 4096`},
		{"9293 3.10.7.4: without ACK a segment is dropped", established + `
			< P 501:511 win 1000
			readable 0`},
		{"9293 3.8.5: urgent data is data", established + `
			< U. 501:511 ack 101 win 1000
			read 10`},

		{"9293 3.6: close, then the peer", established + `
			close
			> FP. 101:101 ack 501 win 4096
			state FIN-WAIT-1
			< . 501:501 ack 102 win 10000
			state FIN-WAIT-2
			never
			< F. 501:501 ack 102 win 10000
			> . 102:102 ack 502 win 4095
			state TIME-WAIT
			eof
			after 60s
			sleep
			state CLOSED
			error none`},
		{"9293 3.6: the peer, then close", established + `
			< F. 501:501 ack 101 win 10000
			> . 101:101 ack 502 win 4095
			state CLOSE-WAIT
			write 10
			> P. 101:111 ack 502 win 4095
			close
			> FP. 111:111 ack 502 win 4095
			state LAST-ACK
			< . 502:502 ack 112 win 10000
			state CLOSED
			error none
			eof`},
		{"9293 3.6: both at once", established + `
			close
			> FP. 101:101 ack 501 win 4096
			< F. 501:501 ack 101 win 10000
			> . 102:102 ack 502 win 4095
			state CLOSING
			< . 502:502 ack 102 win 10000
			state TIME-WAIT`},
		{"9293 3.6: FIN that acknowledges ours", established + `
			close
			> FP. 101:101 ack 501 win 4096
			< F. 501:501 ack 102 win 10000
			> . 102:102 ack 502 win 4095
			state TIME-WAIT`},
		{"9293 3.6: half-closed, data comes without end", established + `
			close
			> FP. 101:101 ack 501 win 4096
			< . 501:501 ack 102 win 10000
			+10h
			< P. 501:601 ack 102 win 10000
			+200ms
			> . 102:102 ack 601 win 3996
			state FIN-WAIT-2
			read 100`},
		{"9293 3.10.7.4: FIN again in TIME-WAIT is acknowledged and begins it anew", established + `
			close
			> FP. 101:101 ack 501 win 4096
			< F. 501:501 ack 102 win 10000
			> . 102:102 ack 502 win 4095
			+50s
			< F. 501:501 ack 102 win 10000
			> . 102:102 ack 502 win 4095
			after 60s
			< R 502:502
			state CLOSED
			error none`},
		{"the peer's FIN out of order", established + `
			< F. 511:511 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			state ESTABLISHED
			< P. 501:511 ack 101 win 10000
			> . 101:101 ack 512 win 4085
			state CLOSE-WAIT
			read 10
			eof`},
		{"data behind the peer's FIN is no data", established + `
			< F. 501:511 ack 101 win 10000
			> . 101:101 ack 512 win 4085
			< P. 512:522 ack 101 win 10000
			readable 10`},
		{"FIN that is within what has come is a lie", established + `
			< P. 601:701 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			< F. 650:660 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			< P. 501:601 ack 101 win 10000
			> . 101:101 ack 701 win 3896
			state ESTABLISHED`},
		{"9293 3.10.5: abort resets", established + `
			write 10
			> P. 101:111 ack 501 win 4096
			abort
			> R 111:111 win 0
			state CLOSED
			error this side
			never`},
		{"abort tells a peer that has yet to take all, though both sides have closed", established + `
			< F. 501:501 ack 101 win 10000
			> . 101:101 ack 502 win 4095
			write 10
			> P. 101:111 ack 502 win 4095
			close
			> FP. 111:111 ack 502 win 4095
			state LAST-ACK
			abort
			> R 112:112 win 0
			state CLOSED`},
		{"9293 3.10.4: close in SYN-SENT", `
			connect
			> S 100:100 win 4096 mss 1000
			close
			state CLOSED
			never`},
		{"9293 3.10.4: close in SYN-RECEIVED waits for the handshake", `
			accept S 500:500 win 10000
			> S. 100:100 ack 501 win 4096 mss 1000
			close
			< . 501:501 ack 101 win 10000
			> FP. 101:101 ack 501 win 4096
			state FIN-WAIT-1`},
		{"9293 3.6.1: released with unread data", established + `
			< P. 501:511 ack 101 win 10000
			release
			> R 101:101 win 0
			state CLOSED`},
		{"9293 3.6.1: data after the release", established + `
			release
			> FP. 101:101 ack 501 win 4096
			< . 501:501 ack 102 win 10000
			< P. 501:511 ack 102 win 10000
			> R 102:102 win 0
			state CLOSED`},
		{"a released connection waits 60 seconds for FIN", established + `
			release
			> FP. 101:101 ack 501 win 4096
			< . 501:501 ack 102 win 10000
			state FIN-WAIT-2
			after 60s
			sleep
			> R 102:102 win 0
			state CLOSED
			error not answer`},

		{"6298: a SYN is sent again after 1, 2, 4 ... 60 s, seven times", `
			connect
			> S 100:100 win 4096 mss 1000
			after 1s
			sleep
			> S 100:100 win 4096 mss 1000
			after 2s
			sleep
			> S 100:100 win 4096 mss 1000
			after 4s
			sleep
			> S 100:100 win 4096 mss 1000
			after 8s
			sleep
			> S 100:100 win 4096 mss 1000
			after 16s
			sleep
			> S 100:100 win 4096 mss 1000
			after 32s
			sleep
			> S 100:100 win 4096 mss 1000
			after 60s
			sleep
			> S 100:100 win 4096 mss 1000
			after 60s
			sleep
			state CLOSED
			error not answer`},
		{"6298 5.7, 5681 3.1: after a lost SYN the RTO is 3 s, the window one segment", `
			connect
			> S 100:100 win 4096 mss 1000
			sleep
			> S 100:100 win 4096 mss 1000
			< S. 500:500 ack 101 win 10000 mss 1000
			> . 101:101 ack 501 win 4096
			write 2000
			> . 101:1101 ack 501 win 4096
			after 3s`},
		{"6298 2: RTO by measurement", `
			connect
			> S 100:100 win 4096 mss 1000
			+600ms
			< S. 500:500 ack 101 win 10000 mss 1000
			> . 101:101 ack 501 win 4096
			# SRTT 600 ms, RTTVAR 300 ms
			write 10
			> P. 101:111 ack 501 win 4096
			after 1800ms
			+600ms
			< . 501:501 ack 111 win 10000
			# RTTVAR 225 ms
			write 10
			> P. 111:121 ack 501 win 4096
			after 1500ms`},
		{"6298 3, 5.5: back-off stays until a segment that was sent once is measured", established + `
			write 10
			> P. 101:111 ack 501 win 4096
			after 1s
			sleep
			> P. 101:111 ack 501 win 4096
			after 2s
			+10ms
			< . 501:501 ack 111 win 10000
			never
			write 10
			> P. 111:121 ack 501 win 4096
			after 2s
			+10ms
			< . 501:501 ack 121 win 10000
			write 10
			> P. 121:131 ack 501 win 4096
			after 1s`},
		{"9293 3.8.3: twelve times, then the end", established + `
			write 10
			> P. 101:111 ack 501 win 4096
			` + repeat(12, "sleep\n > P. 101:111 ack 501 win 4096\n") + `
			sleep
			> R 111:111 win 0
			state CLOSED
			error not answer`},
		{"6298 5.3: an acknowledgment begins the timer anew", established + `
			nodelay
			write 10
			> P. 101:111 ack 501 win 4096
			+100ms
			write 10
			> P. 111:121 ack 501 win 4096
			after 900ms
			< . 501:501 ack 111 win 10000
			after 1s
			sleep
			> P. 111:121 ack 501 win 4096`},

		{"9293 3.8.6.1: probes of a closed window, for ever if they are answered", established + `
			write 1000
			> P. 101:1101 ack 501 win 4096
			< . 501:501 ack 1101 win 0
			write 100
			after 1s
			sleep
			> . 1101:1102 ack 501 win 4096
			< . 501:501 ack 1101 win 0
			after 2s
			` + repeat(40, "sleep\n > . 1101:1102 ack 501 win 4096\n < . 501:501 ack 1101 win 0\n") + `
			after 60s
			+1s
			< . 501:501 ack 1101 win 10000
			> P. 1101:1201 ack 501 win 4096
			state ESTABLISHED
			after 1s`},
		{"9293 3.8.6.1: probes that nobody answers end", established + `
			write 1000
			> P. 101:1101 ack 501 win 4096
			< . 501:501 ack 1101 win 0
			write 100
			` + repeat(12, "sleep\n > . 1101:1102 ack 501 win 4096\n") + `
			sleep
			> R 1101:1101 win 0
			state CLOSED
			error not answer`},
		{"9293 3.8.6.1: the byte of a probe is taken", established + `
			write 1000
			> P. 101:1101 ack 501 win 4096
			< . 501:501 ack 1101 win 0
			write 100
			sleep
			> . 1101:1102 ack 501 win 4096
			< . 501:501 ack 1102 win 0
			after 1s
			sleep
			> . 1102:1103 ack 501 win 4096
			< . 501:501 ack 1103 win 10000
			> P. 1103:1201 ack 501 win 4096`},
		{"a closed window: FIN is the probe", established + `
			< . 501:501 ack 101 win 0
			close
			sleep
			> FP. 101:101 ack 501 win 4096
			< . 501:501 ack 102 win 0
			state FIN-WAIT-2`},
		{"a window that closes over what is under way is probed, and ends nothing", established + `
			write 1000
			> P. 101:1101 ack 501 win 4096
			< . 501:501 ack 101 win 0
			` + repeat(30, "sleep\n > . 101:102 ack 501 win 4096\n < . 501:501 ack 101 win 0\n") + `
			< . 501:501 ack 101 win 2000
			> P. 101:1101 ack 501 win 4096
			state ESTABLISHED`},
		{"where the peer's window ends, an acknowledgment is inside it", established + `
			write 1000
			> P. 101:1101 ack 501 win 4096
			< . 501:501 ack 101 win 0
			< P. 501:511 ack 101 win 0
			+200ms
			> . 101:101 ack 511 win 4086`},
		{"9293 3.8.6.2.1: silly windows are not filled, but after a time", established + `
			write 9000
			> . 101:1101 ack 501 win 4096
			> . 1101:2101 ack 501 win 4096
			> . 2101:3101 ack 501 win 4096
			> . 3101:4101 ack 501 win 4096
			> . 4101:5101 ack 501 win 4096
			> . 5101:6101 ack 501 win 4096
			> . 6101:7101 ack 501 win 4096
			> . 7101:8101 ack 501 win 4096
			> P. 8101:9101 ack 501 win 4096
			< . 501:501 ack 9101 win 100
			write 2000
			after 1s
			sleep
			> . 9101:9201 ack 501 win 4096
			< . 501:501 ack 9201 win 100
			sleep
			> . 9201:9301 ack 501 win 4096
			< . 501:501 ack 9301 win 1000
			> . 9301:10301 ack 501 win 4096`},
		{"9293 3.8.6.2.2: the window grows by a segment or half the buffer, not by less", `
			buffers 1024 2048` + established2048 + `
			< P. 501:1501 ack 101 win 10000
			< P. 1501:2549 ack 101 win 10000
			> . 101:101 ack 2549 win 0
			read 999
			read 1
			> . 101:101 ack 2549 win 1000
			read 1023
			read 1
			> . 101:101 ack 2549 win 2024`},
		{"a FIN is taken without a window", `
			buffers 1024 2048` + established2048 + `
			< P. 501:1501 ack 101 win 10000
			< P. 1501:2549 ack 101 win 10000
			> . 101:101 ack 2549 win 0
			< F. 2549:2549 ack 101 win 10000
			> . 101:101 ack 2550 win 0
			state CLOSE-WAIT
			read 1024
			read 1024
			eof`},
		{"without a window an acknowledgment counts, whatever comes with it", `
			buffers 1024 2048` + established2048 + `
			write 10
			> P. 101:111 ack 501 win 2048
			< P. 501:2549 ack 101 win 10000
			+200ms
			> . 111:111 ack 2549 win 0
			< P. 2549:2559 ack 111 win 10000
			> . 111:111 ack 2549 win 0
			never`},
		{"9293 3.10.7.4: the acknowledgment of a peer who has sent beyond the window counts", `
			buffers 1024 2048` + established2048 + `
			write 10
			> P. 101:111 ack 501 win 2048
			< P. 501:2549 ack 101 win 10000
			+200ms
			> . 111:111 ack 2549 win 0
			< P. 2549:4597 ack 101 win 10000
			> . 111:111 ack 2549 win 0
			< . 4597:4597 ack 111 win 10000
			> . 111:111 ack 2549 win 0
			never
			# FIN was sent as well
			write 10
			> P. 111:121 ack 2549 win 0
			< . 4598:4598 ack 121 win 10000
			> . 121:121 ack 2549 win 0
			never
			# a probe
			write 10
			> P. 121:131 ack 2549 win 0
			< . 2548:2549 ack 131 win 10000
			> . 131:131 ack 2549 win 0
			never
			# farther away is no peer
			write 10
			> P. 131:141 ack 2549 win 0
			< . 4599:4599 ack 141 win 10000
			> . 141:141 ack 2549 win 0
			< . 2547:2548 ack 141 win 10000
			> . 141:141 ack 2549 win 0
			after 1s
			< R. 4597:4597 ack 141 win 0
			state ESTABLISHED`},
		{"9293 3.7.4: Nagle waits for the acknowledgment; closing does not", established + `
			write 10
			> P. 101:111 ack 501 win 4096
			write 10
			write 10
			< . 501:501 ack 111 win 10000
			> P. 111:131 ack 501 win 4096
			write 10
			close
			> FP. 131:141 ack 501 win 4096`},
		{"9293 3.7.4: without Nagle", established + `
			nodelay
			write 10
			> P. 101:111 ack 501 win 4096
			write 10
			> P. 111:121 ack 501 win 4096`},
		{"9293 3.8.6.3: an acknowledgment waits 200 ms, or for the second segment", established + `
			< P. 501:511 ack 101 win 10000
			after 200ms
			+199ms
			+1ms
			> . 101:101 ack 511 win 4086
			never
			< P. 511:521 ack 101 win 10000
			< P. 521:531 ack 101 win 10000
			> . 101:101 ack 531 win 4066
			never`},
		{"an acknowledgment goes with data", established + `
			< P. 501:511 ack 101 win 10000
			write 10
			> P. 101:111 ack 511 win 4086
			+200ms`},
		{"5681 4.2: what comes out of order is acknowledged at once, and kept", established + `
			< P. 511:521 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			< P. 531:541 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			< P. 515:535 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			readable 0
			< P. 501:511 ack 101 win 10000
			> . 101:101 ack 541 win 4056
			read 40`},
		{"5681 4.2: and by segments without data, one for each, whatever else is sent", established + `
			together
			write 10
			< P. 511:521 ack 101 win 10000
			apart
			> P. 101:111 ack 501 win 4096
			> . 111:111 ack 501 win 4096
			together
			< P. 521:531 ack 101 win 10000
			< P. 531:541 ack 101 win 10000
			< P. 541:551 ack 101 win 10000
			apart
			> . 111:111 ack 501 win 4096
			> . 111:111 ack 501 win 4096
			> . 111:111 ack 501 win 4096
			together
			< P. 551:561 ack 101 win 10000
			< P. 501:511 ack 101 win 10000
			apart
			> . 111:111 ack 561 win 4036`},
		{"eight gaps are kept, the ninth is not", established + gaps + `
			< P. 670:680 ack 101 win 10000
			> . 101:101 ack 501 win 4096
			< P. 501:660 ack 101 win 10000
			> . 101:101 ack 660 win 3937
			< P. 660:670 ack 101 win 10000
			+200ms
			> . 101:101 ack 670 win 3927`},

		{"5681 3.1, 6928: slow start from ten segments", `
			accept S 500:500 win 65535 mss 100
			> S. 100:100 ack 501 win 4096 mss 1000
			< . 501:501 ack 101 win 65535
			write 5000` + segments(101, 10) + `
			< . 501:501 ack 201 win 65535` + segments(1101, 2) + `
			< . 501:501 ack 401 win 65535` + segments(1301, 3)},
		{"5681 3.1: congestion avoidance behind the threshold", tenInFlight + `
			# all lost but what the first timeout tells of: threshold 500, window 100
			sleep
			> . 101:201 ack 501 win 4096
			< . 501:501 ack 201 win 65535` + segments(201, 2) + `
			< . 501:501 ack 401 win 65535` + segments(401, 3) + `
			< . 501:501 ack 501 win 65535` + segments(701, 2) + `
			< . 501:501 ack 601 win 65535` + segments(901, 2) + `
			# the window is 500: by 20 bytes for each acknowledgment now
			< . 501:501 ack 701 win 65535` + segments(1101, 1)},
		{"5681 3.2, 3042: fast retransmit, recovery", tenInFlight + `
			< . 501:501 ack 101 win 65535` + segments(1101, 1) + `
			< . 501:501 ack 101 win 65535` + segments(1201, 1) + `
			< . 501:501 ack 101 win 65535
			> . 101:201 ack 501 win 4096
			# threshold 600, window 900, 12 under way
			< . 501:501 ack 101 win 65535
			< . 501:501 ack 101 win 65535
			< . 501:501 ack 101 win 65535
			< . 501:501 ack 101 win 65535` + segments(1301, 1) + `
			# all: the window is two segments, since one is under way, and grows by slow start
			< . 501:501 ack 1301 win 65535` + segments(1401, 1) + `
			< . 501:501 ack 1401 win 65535` + segments(1501, 2)},
		{"6582 3.2: a partial acknowledgment has the next sent again", tenInFlight + `
			` + "< . 501:501 ack 101 win 65000" + `
			< . 501:501 ack 101 win 65000` + segments(1101, 1) + `
			< . 501:501 ack 101 win 65000` + segments(1201, 1) + `
			< . 501:501 ack 101 win 65000
			> . 101:201 ack 501 win 4096
			+100ms
			< . 501:501 ack 301 win 65000
			> . 301:401 ack 501 win 4096
			after 1s
			+100ms
			< . 501:501 ack 501 win 65000
			> . 501:601 ack 501 win 4096
			# the timer began anew with the first of them alone
			after 900ms`},
		{"5681 3.2: fast retransmit sends nothing that waits behind it", established + `
			write 100
			> P. 101:201 ack 501 win 4096
			write 200
			< . 501:501 ack 101 win 10000
			< . 501:501 ack 101 win 10000
			< . 501:501 ack 101 win 10000
			> . 101:201 ack 501 win 4096
			< . 501:501 ack 201 win 10000
			> P. 201:401 ack 501 win 4096
			< . 501:501 ack 401 win 10000
			never`},
		{"5681 2: a window update is no duplicate", tenInFlight + `
			< . 501:501 ack 101 win 65534
			< . 501:501 ack 101 win 65533
			< . 501:501 ack 101 win 65532
			< . 501:501 ack 101 win 65531`},
		{"5681 4.1: after silence the window is the initial one", `
			buffers 65536 4096
			accept S 500:500 win 65535 mss 100
			> S. 100:100 ack 501 win 4096 mss 1000
			< . 501:501 ack 101 win 65535
			write 2000` + segments(101, 10) + `
			< . 501:501 ack 201 win 65535` + segments(1101, 2) + `
			< . 501:501 ack 1301 win 65535
			> . 1301:1401 ack 501 win 4096
			> . 1401:1501 ack 501 win 4096
			> . 1501:1601 ack 501 win 4096
			> . 1601:1701 ack 501 win 4096
			> . 1701:1801 ack 501 win 4096
			> . 1801:1901 ack 501 win 4096
			> . 1901:2001 ack 501 win 4096
			> P. 2001:2101 ack 501 win 4096
			< . 501:501 ack 2101 win 65535
			+10s
			write 2000` + segments(2101, 10)},
	} {
		t.Run(tt.name, func(t *testing.T) { play(t, tt.script) })
	}
}

const established2048 = `
	accept S 500:500 win 10000 mss 1000
	> S. 100:100 ack 501 win 2048 mss 1000
	< . 501:501 ack 101 win 10000
`

// gaps are eight gaps of ten bytes.
var gaps = func() string {
	text := ""
	for from := 510; from < 670; from += 20 {
		text += fmt.Sprintf("\n< P. %d:%d ack 101 win 10000\n> . 101:101 ack 501 win 4096", from, from+10)
	}
	return text
}()

// tenInFlight is a connection with a MSS of 100 that has sent its initial window, of 5,000 bytes.
var tenInFlight = `
	accept S 500:500 win 65535 mss 100
	> S. 100:100 ack 501 win 4096 mss 1000
	< . 501:501 ack 101 win 65535
	write 5000` + segments(101, 10)

// segments are n segments of 100 bytes that were sent, from a sequence number on.
func segments(from, n int) string {
	text := ""
	for range n {
		text += fmt.Sprintf("\n> . %d:%d ack 501 win 4096", from, from+100)
		from += 100
	}
	return text
}

func repeat(n int, text string) string { return strings.Repeat(text, n) }
