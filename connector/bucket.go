package connector

import (
	"time"

	"godwit/schema/client"
)

// rate is what all sessions may send: a PDU every interval, and burst more at once.
type rate struct {
	interval time.Duration
	window   time.Duration // burst in time
}

func newRate(perSecond float64, burst int) rate {
	interval := time.Duration(float64(time.Second) / perSecond)
	return rate{interval: interval, window: time.Duration(burst) * interval}
}

// bucket is one session's use of its rate, in eight bytes: the time, since the
// server's start, up to which its allowance is spent.
type bucket time.Duration

// take spends cost eighths of a PDU at the time now. If the allowance does not reach
// it takes nothing and tells how long to wait.
func (b *bucket) take(r rate, now time.Duration, cost int) (wait time.Duration) {
	spent := max(time.Duration(*b), now) + r.interval*time.Duration(cost)/8
	if over := spent - now - r.window; over > 0 && time.Duration(*b) > now {
		return over
	}
	*b = bucket(spent)
	return 0
}

// owe spends cost eighths of a PDU whether the allowance reaches it or not, and tells how long to wait until it does.
func (b *bucket) owe(r rate, now time.Duration, cost int) (wait time.Duration) {
	spent := max(time.Duration(*b), now) + r.interval*time.Duration(cost)/8
	*b = bucket(spent)
	return max(0, spent-now-r.window)
}

// groupPrice is how many requests one for a new group counts: at the default rate there are
// ten of them a second, and twenty at once.
const groupPrice = 50

// cost of a PDU in eighths: receipts and heartbeats are nearly free to serve, and a
// client sends one receipt for each message that others send it; a large PDU counts
// once more for every 4 KiB. One that makes or changes a group does for every 64 bytes: each
// of its members is rows to be written, and somebody to be told. One that makes a group counts
// groupPrice times beside that: the group stays in the lists of others, who were not asked.
func cost(command uint16, length int) int {
	unit := 4 << 10
	if command == client.CmdGroupCreateReq || command == client.CmdGroupChangeMemberReq {
		unit = 64
	}
	n := length / unit * 8
	switch command {
	case cmdReceipt, cmdHeartbeat:
		return n + 1
	case client.CmdGroupCreateReq:
		return n + 8*groupPrice
	}
	return n + 8
}
