package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far something is: a bar on a terminal, a line now and then
// elsewhere.
type progress struct {
	out  io.Writer
	what string
	unit string
	bar  *progressbar.ProgressBar
	tty  bool
	last time.Time
}

const progressLines = 2 * time.Second // between lines where there is no terminal

func newProgress(out io.Writer, what, unit string) *progress {
	_, tty := terminal(out)
	return &progress{out: out, what: what, unit: unit, tty: tty, last: time.Now()}
}

func (p *progress) set(done, total uint64) {
	if !p.tty {
		if now := time.Now(); now.Sub(p.last) >= progressLines {
			p.last = now
			fmt.Fprintf(p.out, "%s: %d of %d %s\n", p.what, done, total, p.unit)
		}
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(int64(total), progressbar.OptionSetWriter(p.out),
			progressbar.OptionSetDescription(p.what), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionSetItsString(p.unit), progressbar.OptionThrottle(50*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	}
	if int64(total) != p.bar.GetMax64() {
		p.bar.ChangeMax64(int64(total))
	}
	_ = p.bar.Set64(int64(done)) // a bar that can't be drawn is no failure
}

// note prints a line beside the bar.
func (p *progress) note(format string, args ...any) {
	p.end()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// end takes the bar away; another set brings it back.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}
