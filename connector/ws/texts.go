package ws

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
	"weak"

	"godwit/schema/pdu"
)

// texts are what was written lately as texts, so that what many get at once, as a message to a group, is made once for
// all of them and not for each. A PDU is found by its bytes, without a lock. What nobody writes any more is the
// collector's.
type texts [256]struct {
	seen atomic.Uint64 // hash of the PDU that was asked for last
	text atomic.Pointer[weak.Pointer[text]]
}

// text is a PDU and the frame of its text; neither is changed.
type text struct{ pdu, frame []byte }

var textSeed = maphash.MakeSeed()

// find gives the text of a push; nil at the first time: most are for one client alone, and not worth keeping.
func (t *texts) find(f *pdu.Frame) *text {
	if f.Seq != 0 {
		return nil // an answer
	}
	hash := maphash.Bytes(textSeed, f.Raw)
	at := &t[hash%uint64(len(t))]
	if kept := at.text.Load(); kept != nil {
		if one := kept.Value(); one != nil && bytes.Equal(one.pdu, f.Raw) {
			return one
		}
	}
	if at.seen.Swap(hash) != hash {
		return nil
	}
	one := &text{bytes.Clone(f.Raw), appendPDU(nil, f)}
	kept := weak.Make(one)
	at.text.Store(&kept)
	return one
}
