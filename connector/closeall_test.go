package connector

import (
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"godwit/connector/delivery"
	"godwit/schema/client"
	imlogin "godwit/schema/client/login"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// A node that has lost its positions still lives: what it closes then has to be ended
// in the log, where nobody else would.
func TestSessionsClosedForLostPositionsAreEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		r.srv.Handler().CloseAll(delivery.ErrPositionsLost)
		r.settle(ann, bob)
		if !ann.over || !bob.over {
			t.Error("not closed")
		}
		r.step()
		ends := slices.DeleteFunc(r.node.kinds(), func(k string) bool { return k != "SessionEnded" })
		if len(ends) != 2 {
			t.Errorf("appended %v, want an end of each session", r.node.kinds())
		}
	})
}

// A log that lost its tail gives positions anew: a change of credentials that went with
// it must not keep people out until the log has come that far again.
func TestLoginAfterPeopleWereRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.set(func() { r.node.sequence[event.People] = 500 })
		r.node.changed(credentials(1, event.EndReason_END_REASON_PASSWORD_CHANGED))
		r.node.set(func() { r.node.sequence[event.People] = 400 })
		r.srv.Handler().DropCaches()
		r.srv.Handler().CloseAll(delivery.ErrPositionsLost)
		asked := 0
		r.node.hook(func(*query.Request) (*query.Answer, error) {
			if asked++; asked > 10 {
				r.node.sequence[event.People] = 501 // ends the test, too late
			}
			return nil, nil
		})
		r.login("ann", windows)
		if asked > 10 {
			t.Error("nobody was let in")
		}
	})
}

// A change of credentials that was missed between a login's look-up and its
// registration is told to nobody: the node asks for the users it has.
func TestPasswordChangeMissedWhileItLogsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		asked := 0
		r.node.hook(func(*query.Request) (*query.Answer, error) {
			if asked++; asked > 1 {
				return nil, nil
			}
			old := &query.Answer{At: []*query.AtLeast{{Stream: 0, Sequence: r.node.PeopleSeen()}}, Body: &query.Answer_Account{
				Account: &query.AccountAnswer{Account: proto.CloneOf(r.node.people[1])}}}
			r.node.people[1].Disabled = true
			r.srv.Handler().DropCaches()
			return old, nil
		})
		w := r.connect()
		w.send(w.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", windows)))
		r.step(w)
		if m := one[*imlogin.IMLoginRes](w, 1); m.GetResultCode() != 6 {
			t.Errorf("let in with what was changed: %v", m)
		}
	})
}

// A session that the node gives up is not over in the log.
func TestSessionGivenUpByTheNodeIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		id := ann.s.Session()
		r.srv.Handler().SessionOver(&frame.SessionOver{Session: id[:], User: 1, Reason: event.EndReason_END_REASON_SLOW})
		r.step(ann)
		if e := r.node.find("SessionEnded").GetSessionEnded(); !ann.over || e.GetReason() != event.EndReason_END_REASON_SLOW {
			t.Errorf("closed %v, ended %v", ann.over, e)
		}
	})
}
