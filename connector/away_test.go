package connector

import (
	"testing"
	"testing/synctest"
	"time"

	"godwit/schema/client"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
)

// notices takes the states that a client was told.
func (w *wire) states() (all []imextension.ServerState) {
	for _, g := range w.take() {
		if m, ok := g.m.(*imextension.ServerNotify); ok {
			all = append(all, m.GetState())
		}
	}
	return all
}

func (r *rig) setWritable(err error) { r.node.set(func() { r.node.unwritable = err }) }

// While nothing is stored sessions stay, new clients are told, what is sent is acked late, and
// whoever logs in is refused at once.
func TestWhileTheLogIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old, ann := r.login("bob", windows), r.enterAs("ann", windows, uint32(imextension.Feature_FEATURE_NOTICES))
		r.sleep(5*time.Second, old, ann)
		old.take()
		ann.take()
		// One whose SessionOpened is on its way when the log goes.
		late := r.connect()
		late.send(late.pack(client.CmdLoginReq, 9, loginReq("cy", "pw", windows)))
		r.settle(late)
		late.nothing()

		away := time.Now()
		r.setWritable(errAway)
		r.sleep(awayFor/2, old, ann, late)
		if got := ann.states(); len(got) > 0 {
			t.Errorf("told of a short absence: %v", got)
		}
		for !late.over && time.Since(away) < time.Minute {
			r.sleep(100*time.Millisecond, old, ann, late)
		}
		if took := time.Since(away); took > 2*time.Second {
			t.Errorf("a login waits for %v", took)
		}
		if m := one[*imlogin.IMLoginRes](late, 9); m.GetResultCode() != loginServer {
			t.Errorf("its answer: %v", m)
		}
		if got := ann.states(); len(got) != 1 || got[0] != imextension.ServerState_SERVER_STATE_UNAVAILABLE {
			t.Errorf("told: %v", got)
		}
		next := r.connect()
		began := time.Now()
		next.send(next.pack(client.CmdLoginReq, 9, loginReq("cy", "pw", windows)))
		r.settle(next)
		if m := one[*imlogin.IMLoginRes](next, 9); m.GetResultCode() != loginServer || !next.over || time.Since(began) > 0 {
			t.Errorf("a login after %v, closed %v: %v", time.Since(began), next.over, m)
		}

		ann.send(ann.pack(client.CmdMsgData, 7, msg(2, text, "x")))
		r.sleep(time.Minute, old, ann)
		if old.over || ann.over {
			t.Fatal("a session is closed")
		}
		if got := append(ann.take(), old.take()...); len(got) > 0 {
			t.Errorf("got %v", got)
		}
		r.setWritable(nil)
		r.sleep(time.Second, old, ann)
		if got := ann.states(); len(got) != 1 || got[0] != imextension.ServerState_SERVER_STATE_AVAILABLE {
			t.Errorf("told: %v", got)
		}
		r.step(old, ann)
		if m := one[*immessage.IMMsgDataAck](ann, 7); m.GetMsgId() != 1 {
			t.Errorf("ack: %v", m)
		}
		if m := one[*immessage.IMMsgData](old, 0); string(m.GetMsgData()) != "x" {
			t.Errorf("message: %v", m)
		}
	})
}

// A list that waits for what was sent before it waits as long as the log is away.
func TestListsWaitWhileTheLogIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		ann.take()
		r.setWritable(errAway)
		r.sleep(2*awayFor, ann)
		ann.send(ann.pack(client.CmdMsgData, 7, msg(2, text, "x")),
			ann.pack(client.CmdUnreadMsgCntReq, 8, &immessage.IMUnreadMsgCntReq{UserId: new(uint32(0))}))
		r.sleep(time.Minute, ann)
		if ann.over {
			t.Fatal("the session is closed")
		}
		r.setWritable(nil)
		r.sleep(time.Second, ann)
		ann.take()
		r.step(ann)
		if got := ann.take(); len(got) != 2 {
			t.Errorf("got %v", got)
		}
	})
}
