package files

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imfile "godwit/schema/client/file"
	"godwit/schema/pdu"
)

// maxPulls is how many pulls a receiver may have on the way to the sender.
const maxPulls = 8

// transfer is an online task with at least one side here, or that had one a moment ago.
type transfer struct {
	srv  *Server
	task Task

	mu       sync.Mutex
	sender   *conn
	receiver *conn
	ready    *conn // the receiver that was told that the sender is there
	pulls    []pull
	met      bool        // both sides have been here at once
	absence  *time.Timer // runs while a side is away that was here
	waits    int         // which absence that is
	over     bool
}

// pull is what the receiver has asked for and the sender has not answered.
type pull struct {
	offset, size uint32
	seq          uint16
	raw          []byte
	stale        bool // of a connection that is gone: its answer goes to nobody
}

// join makes c a side of its transfer. It is false if the transfer is over.
func (srv *Server) join(c *conn) (*transfer, error) {
	srv.mu.Lock()
	t := srv.transfers[c.task.ID]
	if srv.stopped {
		srv.mu.Unlock()
		return nil, errOver
	}
	if t == nil {
		t = &transfer{srv: srv, task: c.task}
		srv.transfers[c.task.ID] = t
	}
	srv.mu.Unlock()

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil, errOver
	}
	if c.side.role == onlineSender {
		t.sender = c
		t.pulls = slices.DeleteFunc(t.pulls, func(p pull) bool { return p.stale })
	} else {
		t.receiver = c
		for i := range t.pulls {
			t.pulls[i].stale = true
		}
	}
	t.await(false)
	if both := t.sender != nil && t.receiver != nil; both {
		t.met = true
	} else if t.met {
		t.await(true)
	}
	return t, nil
}

// await begins the time in which a side has to come back anew, or ends it. mu is held.
func (t *transfer) await(begin bool) {
	if t.absence != nil {
		t.absence.Stop()
		t.absence = nil
	}
	t.waits++
	if begin {
		n := t.waits
		t.absence = time.AfterFunc(t.srv.limits.Grace, func() { t.missed(n) })
	}
}

// greet tells the receiver that the sender is there, or a sender that came back what he is
// still asked for.
func (t *transfer) greet(c *conn) error {
	t.mu.Lock()
	sender, receiver := t.sender, t.receiver
	if sender == nil || receiver == nil {
		t.mu.Unlock()
		return nil
	}
	tell := t.ready != receiver
	t.ready = receiver
	var again [][]byte
	if c == sender {
		for _, p := range t.pulls {
			again = append(again, p.raw)
		}
	}
	t.mu.Unlock()
	if tell {
		if err := receiver.state(peerReady, t.task.From); err != nil && c == receiver {
			return err
		}
	}
	for _, raw := range again {
		if err := sender.write(raw); err != nil {
			return err
		}
	}
	return nil
}

// part takes c out and gives it a while to come back.
func (t *transfer) part(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch c {
	case t.sender:
		t.sender = nil
	case t.receiver:
		t.receiver = nil
	default:
		return
	}
	if !t.over && c.ctx.Err() == nil && t.absence == nil {
		t.await(true)
	}
}

// missed ends the transfer of a side that has not come back.
func (t *transfer) missed(wait int) {
	t.srv.mu.Lock()
	if t.srv.stopped {
		t.srv.mu.Unlock()
		return
	}
	t.srv.wg.Add(1)
	t.srv.mu.Unlock()
	defer t.srv.wg.Done()
	t.mu.Lock()
	now, user := t.waits, t.task.To
	if t.sender == nil {
		user = t.task.From
	}
	t.mu.Unlock()
	if now == wait {
		t.end(nil, cancelled, user, "left")
	}
}

// end tells the other side than from, or both sides, and forgets the task. Only the first
// end counts.
func (t *transfer) end(from *conn, st imbase.ClientFileState, user uint32, result string) {
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return
	}
	t.over = true
	t.await(false)
	var told []*conn
	for _, c := range []*conn{t.sender, t.receiver} {
		if c != nil && c != from {
			told = append(told, c)
		}
	}
	t.pulls = nil
	t.mu.Unlock()

	t.srv.count.ended.WithLabelValues(result).Inc()
	ctx, cancel := context.WithTimeout(context.Background(), removeTime)
	defer cancel()
	if err := t.srv.store.Remove(ctx, t.task); err != nil {
		t.srv.log.Warn("a file transfer that is over is left to its time", "task", short(t.task.ID), "err", err)
	}
	t.srv.mu.Lock()
	if t.srv.transfers[t.task.ID] == t {
		delete(t.srv.transfers, t.task.ID)
	}
	t.srv.mu.Unlock()
	for _, c := range told {
		if c.state(st, user) == nil {
			c.finish() // its own goroutine says goodbye
		}
	}
}

// quit ends the waiting of a server that stops. The task goes on elsewhere, or later.
func (t *transfer) quit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.await(false)
}

// relay serves one side of an online transfer.
func (c *conn) relay() error {
	t, err := c.srv.join(c)
	if err != nil {
		return err
	}
	defer t.part(c)
	if err := t.greet(c); err != nil {
		return err
	}
	for {
		f, err := c.next()
		if err != nil {
			if errors.Is(err, errProtocol) {
				t.end(c, cancelled, c.user, "broken")
			}
			return err
		}
		if err := t.serve(c, &f); err != nil {
			if errors.Is(err, errProtocol) {
				t.end(c, cancelled, c.user, "broken")
			}
			return err
		}
	}
}

func (t *transfer) serve(c *conn, f *pdu.Frame) error {
	if served, err := c.common(f); served || err != nil {
		return err
	}
	switch {
	case f.Command == client.CmdFileState:
		m, err := c.readState(f.Body)
		if err != nil {
			return err
		}
		result := map[imbase.ClientFileState]string{cancelled: "cancelled", refused: "refused", done: "done"}[m.GetState()]
		t.end(c, m.GetState(), m.GetUserId(), result)
		return errOver
	case f.Command == client.CmdFilePullDataReq && c.side.role == onlineReceiver:
		return t.pull(c, f)
	case f.Command == client.CmdFilePullDataRsp && c.side.role == onlineSender:
		return t.pass(c, f)
	}
	return fmt.Errorf("%w: %s of %s", errProtocol, client.Name(f.Command), c.side.role)
}

// pull passes the receiver's wish to the sender as it came.
func (t *transfer) pull(c *conn, f *pdu.Frame) error {
	m := new(imfile.IMFilePullDataReq)
	if err := client.Unmarshal(f.Body, m); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	if m.GetTaskId() != t.task.ID || m.GetUserId() != c.user || m.GetTransMode() != online ||
		m.GetOffset() >= t.task.Size || m.GetDataSize() == 0 || m.GetDataSize() > maxPiece {
		return fmt.Errorf("%w: pull of %d at %d of %d", errProtocol, m.GetDataSize(), m.GetOffset(), t.task.Size)
	}
	p := pull{offset: m.GetOffset(), size: m.GetDataSize(), seq: f.Seq, raw: slices.Clone(f.Raw)}
	t.mu.Lock()
	if t.ready != c {
		t.mu.Unlock()
		return fmt.Errorf("%w: pull before the sender was there", errProtocol)
	}
	if len(t.pulls) >= maxPulls {
		t.mu.Unlock()
		return fmt.Errorf("%w: more than %d pulls at once", errProtocol, maxPulls)
	}
	t.pulls = append(t.pulls, p)
	sender := t.sender
	t.mu.Unlock()
	if sender != nil { // else he hears of it when he comes back
		_ = sender.write(p.raw) // a sender that is not there any more is closed by it
	}
	return nil
}

// pass brings the sender's data to the receiver who asked for it.
func (t *transfer) pass(c *conn, f *pdu.Frame) error {
	m := new(imfile.IMFilePullDataRsp)
	if err := client.Unmarshal(f.Body, m); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	size := len(m.GetFileData())
	t.mu.Lock()
	i := slices.IndexFunc(t.pulls, func(p pull) bool { return p.offset == m.GetOffset() })
	if m.GetTaskId() != t.task.ID || m.GetUserId() != c.user || i < 0 ||
		size > int(t.pulls[i].size) || int64(m.GetOffset())+int64(size) > int64(t.task.Size) {
		t.mu.Unlock()
		return fmt.Errorf("%w: %d bytes at %d that nobody asked for", errProtocol, size, m.GetOffset())
	}
	p := t.pulls[i]
	t.pulls = slices.Delete(t.pulls, i, i+1)
	receiver := t.receiver
	t.mu.Unlock()
	if p.stale || receiver == nil {
		return nil // he asks again when he comes back
	}
	h := f.Header
	h.Seq = p.seq
	b := append(pdu.AppendHeader(make([]byte, 0, len(f.Raw)), h), f.Body...)
	if receiver.write(b) == nil {
		t.srv.count.bytes.WithLabelValues("passed").Add(float64(size))
	}
	return nil
}
