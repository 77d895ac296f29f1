package qemu

import (
	"time"

	"kapsel/vmm/image"
	"kapsel/vmm/watchdog"
)

// A watcher is the watchdog of a machine: by QEMU's monitor it reads the heartbeat and the
// registers and sends the NMI. A nil one does nothing. It begins when it finds the processor
// in the image: what the firmware takes before is not the kernel's.
type watcher struct {
	monitor *monitor
	log     func(format string, args ...any)
	image   *image.Image
	beat    uint64 // physical address
	period  time.Duration
	watch   *watchdog.Watch
	entered bool
}

// newWatcher makes the watcher, or nil if there is no period or the image has no heartbeat.
func (m *Machine) newWatcher() *watcher {
	c := &m.config
	if c.Watchdog <= 0 {
		return nil
	}
	beat, ok := c.Image.Heartbeat(image.PVH)
	if !ok {
		c.Log("no watchdog: the image has no heartbeat")
		return nil
	}
	return &watcher{monitor: m.monitor, log: c.Log, image: c.Image, beat: beat, period: c.Watchdog, watch: watchdog.New(c.Watchdog)}
}

// ticks is a channel that is sent to when it is time for a tick.
func (w *watcher) ticks() <-chan time.Time {
	if w == nil {
		return nil
	}
	return time.After(w.watch.Pause())
}

// tick looks at the machine, sends the NMI if that is due, and says if the kernel is hung.
// A QEMU that does not answer has ended or is about to.
func (w *watcher) tick() watchdog.Verdict {
	beat, err := w.monitor.word(w.beat)
	if err != nil {
		w.log("the watchdog cannot look: %v", err)
		return watchdog.Nothing
	}
	if !w.watch.Tick(beat) {
		return watchdog.Nothing
	}
	posture, ip, err := w.monitor.posture()
	if err != nil {
		w.log("the watchdog cannot look: %v", err)
	}
	if w.entered = w.entered || beat != 0 || err == nil && w.image.Holds(ip); !w.entered {
		return watchdog.Nothing
	}
	verdict := w.watch.Look(posture)
	if verdict == watchdog.Warn {
		w.log("watchdog: the kernel has not returned to its main loop for %v: it gets an NMI", w.period)
	}
	if verdict == watchdog.Warn || verdict == watchdog.WarnAgain {
		if _, err := w.monitor.command("inject-nmi", nil); err != nil {
			w.log("watchdog: no NMI: %v", err)
		}
	}
	return verdict
}
