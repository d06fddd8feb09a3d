package connector

import (
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/commands"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
	"godwit/schema/pdu/pdutest"
	"godwit/schema/query"
)

func TestHeartbeatIsEchoedByteForByteBeforeAndAfterLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		beat, _ := hex.DecodeString("00000010" + "0006" + "0003" + "0007" + "0701" + "fffe" + "0030")
		w := r.connect()
		w.send(beat)
		if string(w.got) != string(beat) {
			t.Errorf("before login: echoed %x", w.got)
		}
		w = r.login("ann", windows)
		w.send(pdutest.Heartbeat)
		if string(w.got) != string(pdutest.Heartbeat) {
			t.Errorf("after login: echoed %x", w.got)
		}
	})
}

func TestTimeIsToldBeforeLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.connect()
		w.send(w.pack(client.CmdClientTimeReq, 0xff01, &immessage.IMClientTimeReq{}))
		if m := one[*immessage.IMClientTimeRsp](w, 0xff01); m.GetServerTime() != uint32(time.Now().Unix()) {
			t.Errorf("time %d", m.GetServerTime())
		}
	})
}

func TestCommandsBeforeLoginAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.connect()
		for command, body := range pdutest.Requests {
			w.send(header(command, 1, body))
		}
		w.nothing()
		if w.over {
			t.Error("closed")
		}
		r.node.step()
		if k := r.node.kinds(); len(k) != 0 {
			t.Errorf("appended %v", k)
		}
	})
}

func TestLoginAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.connect()
		req := loginReq("ANN", "pw", windows)
		req.OnlineStatus = new(imbase.UserStatType_USER_STATUS_LEAVE)
		w.send(w.pack(client.CmdLoginReq, 77, req))
		w.nothing() // nothing before the log has it
		if w.read {
			t.Error("read while it logs in")
		}
		r.step(w)
		m := one[*imlogin.IMLoginRes](w, 77)
		u := m.GetUserInfo()
		if m.GetResultCode() != 0 || m.GetResultString() != "成功" || m.GetOnlineStatus() != imbase.UserStatType_USER_STATUS_LEAVE ||
			m.GetServerTime() != uint32(time.Now().Unix()) {
			t.Errorf("answer %v", m)
		}
		if u.GetUserId() != 1 || u.GetUserRealName() != "ann" || u.GetUserNickName() != "Nick ann" || u.GetStatus() != 0 ||
			u.SignInfo == nil || u.GetUserDomain() != "ann" || u.GetDepartmentId() != 7 {
			t.Errorf("user info %v", u)
		}
		if !w.read {
			t.Error("not read after login")
		}
		opened := r.node.find("SessionOpened").GetSessionOpened()
		if opened.GetUser() != 1 || opened.GetDeviceClass() != event.DeviceClass_DEVICE_CLASS_DESKTOP || opened.GetPeopleSequence() == 0 ||
			!slices.Equal(opened.GetReplaces(), []event.DeviceClass{event.DeviceClass_DEVICE_CLASS_DESKTOP}) || opened.GetClientVersion() != "test" {
			t.Errorf("event %v", opened)
		}
		w.send(w.pack(client.CmdLoginReq, 78, req)) // a second one is ignored
		r.step(w)
		w.nothing()
	})
}

func TestFailedLogins(t *testing.T) {
	cases := []struct {
		name string
		edit func(r *rig)
		user string
		pw   string
		code imbase.ResultType
		text string
	}{
		{"wrong password", nil, "ann", "no", 6, "用户名/密码错误"},
		{"unknown name", nil, "nobody", "pw", 6, "用户名/密码错误"},
		{"disabled", func(r *rig) { r.node.people[1].Disabled = true }, "ann", "pw", 6, "用户名/密码错误"},
		{"left", func(r *rig) { r.node.people[1].Employment = 3 }, "ann", "pw", 6, "用户名/密码错误"},
		{"view away", func(r *rig) { r.node.unavailable = errAway }, "ann", "pw", 3, "服务端异常"},
		{"log full", func(r *rig) { r.node.full = true }, "ann", "pw", 3, "服务端异常"},
		{"node life over", func(r *rig) { r.node.result = voidNotLive }, "ann", "pw", 3, "服务端异常"},
		{"life lost meanwhile", func(r *rig) { r.node.result = lifeLost }, "ann", "pw", 3, "服务端异常"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				if c.edit != nil {
					c.edit(r)
				}
				w := r.connect()
				w.send(w.pack(client.CmdLoginReq, 1, loginReq(c.user, c.pw, windows)))
				r.step(w)
				m := one[*imlogin.IMLoginRes](w, 1)
				if m.GetResultCode() != c.code || m.GetResultString() != c.text || m.UserInfo != nil || m.OnlineStatus != nil {
					t.Errorf("answer %v", m)
				}
				if !w.over {
					t.Error("not closed")
				}
				r.node.step()
				if n := len(r.node.members[1]); n != 0 {
					t.Errorf("%d members left at the node", n)
				}
				if len(r.srv.byUser) != 0 || len(r.srv.sessions) != 0 {
					t.Error("session left in the tables")
				}
			})
		})
	}
}

func TestLoginWithoutAnOutcomeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.connect()
		w.send(w.pack(client.CmdLoginReq, 3, loginReq("ann", "pw", windows)))
		r.sleep(14*time.Second, w)
		w.nothing()
		r.sleep(4*time.Second, w)
		if m := one[*imlogin.IMLoginRes](w, 3); m.GetResultCode() != 3 || !w.over {
			t.Errorf("%v, closed %v", m, w.over)
		}
		r.step(w) // the outcome comes too late
		w.nothing()
		if k := r.node.kinds(); !slices.Equal(k, []string{"SessionOpened", "SessionEnded"}) {
			t.Errorf("appended %v", k)
		}
	})
}

func TestTooManyWrongPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		texts := map[string]int{}
		for range 12 {
			w := r.connect()
			w.send(w.pack(client.CmdLoginReq, 1, loginReq("ann", "no", windows)))
			r.settle(w)
			texts[one[*imlogin.IMLoginRes](w, 1).GetResultString()]++
		}
		if texts["用户名/密码错误"] != 10 || texts["用户名/密码错误次数太多"] != 2 {
			t.Errorf("answers %v", texts)
		}
	})
}

func TestPushesWaitForTheLoginAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.connect()
		w.send(w.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", android)))
		// The session is registered; its SessionOpened is in line behind nothing, and a
		// message comes in a frame before.
		opened := r.node.queue
		r.node.queue = nil
		r.node.push(2, 1, "early")
		r.step(w)
		w.nothing()
		r.node.queue = opened
		r.step(w)
		all := w.take()
		if len(all) != 2 || all[0].Command != client.CmdLoginRes || all[1].Command != client.CmdMsgData {
			t.Fatalf("got %v", all)
		}
	})
}

func TestClientGoneWhileItLogsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.connect()
		w.send(w.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", windows)))
		w.s.Hangup()
		r.settle(w)
		if !w.over {
			t.Fatal("not closed")
		}
		r.step(w)
		if k := r.node.kinds(); !slices.Equal(k, []string{"SessionOpened", "SessionEnded"}) {
			t.Fatalf("appended %v", k)
		}
		if e := r.node.find("SessionEnded").GetSessionEnded(); e.GetReason() != event.EndReason_END_REASON_ABANDONED {
			t.Errorf("ended %v", e)
		}
		if len(r.node.members[1]) != 0 || len(r.srv.byUser) != 0 {
			t.Error("left in the tables")
		}
	})
}

func TestClientGoneInTheMomentOfTheAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.connect()
		entered, goOn := make(chan struct{}), make(chan struct{})
		r.node.set(func() {
			r.node.onAppend = func(ev *event.Event) {
				if ev.GetSessionOpened() != nil {
					close(entered)
					<-goOn
				}
			}
		})
		w.s.Input(w.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", windows)))
		<-entered
		w.over = true
		w.s.Closed(nil)
		r.settle(w)
		close(goOn)
		r.step(w)
		// The end never stands before the beginning, where it would have no effect.
		if k := r.node.kinds(); !slices.Equal(k, []string{"SessionOpened", "SessionEnded"}) {
			t.Fatalf("appended %v", k)
		}
		if len(r.node.members[1]) != 0 || len(r.srv.byUser) != 0 || len(r.srv.sessions) != 0 {
			t.Error("left in the tables")
		}
	})
}

func TestPasswordChangedWhileItLogsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		// The change becomes known between the look-up and the registration.
		asked := 0
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if asked++; asked > 1 {
				return nil, nil
			}
			old := &query.Answer{At: []*query.AtLeast{{Stream: 0, Sequence: r.node.PeopleSeen()}}, Body: &query.Answer_Account{
				Account: &query.AccountAnswer{Account: proto.CloneOf(r.node.people[1])}}}
			r.node.people[1].Disabled = true
			r.node.changed(credentials(1, event.EndReason_END_REASON_DISABLED))
			return old, nil
		})
		w := r.connect()
		w.send(w.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", windows)))
		r.step(w)
		m := one[*imlogin.IMLoginRes](w, 1)
		if m.GetResultCode() != 6 {
			t.Errorf("let in with what was changed: %v", m)
		}
	})
}

func TestPasswordChangeEndsSessionsDecidedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		before := r.login("ann", windows)
		under := r.connect() // its SessionOpened is not in the log yet
		under.send(under.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", android)))
		r.node.changed(credentials(1, event.EndReason_END_REASON_PASSWORD_CHANGED))
		r.settle(before, under)
		if !before.over || !under.over {
			t.Fatal("not closed")
		}
		before.nothing() // without 0x0107
		r.step(before, under)
		reasons := []event.EndReason{}
		for _, ev := range r.node.events {
			if e := ev.GetSessionEnded(); e != nil {
				reasons = append(reasons, e.GetReason())
			}
		}
		if !slices.Contains(reasons, event.EndReason_END_REASON_PASSWORD_CHANGED) || len(reasons) != 2 {
			t.Errorf("ended for %v", reasons)
		}
		after := r.login("ann", windows)
		r.sleep(time.Second, after)
		if after.over {
			t.Error("a session decided after the change was ended")
		}
	})
}

func TestLogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.login("ann", windows)
		w.send(w.pack(client.CmdLogoutReq, 5, &imlogin.IMLogoutReq{}))
		if m := one[*imlogin.IMLogoutRsp](w, 5); m.GetResultCode() != 0 || !w.over {
			t.Errorf("%v, closed %v", m, w.over)
		}
		r.node.step()
		if e := r.node.find("SessionEnded").GetSessionEnded(); e.GetReason() != event.EndReason_END_REASON_LOGOUT {
			t.Errorf("ended %v", e)
		}
	})
}

func TestTimeLimits(t *testing.T) {
	cases := []struct {
		name   string
		begin  func(r *rig) *wire
		lives  time.Duration
		over   time.Duration
		during func(w *wire)
	}{
		{"login wait, silent", (*rig).connect, 14 * time.Second, 18 * time.Second, nil},
		{"login wait, chatting", (*rig).connect, 14 * time.Second, 18 * time.Second, func(w *wire) { w.send(pdutest.Heartbeat) }},
		{"login wait, slow header", (*rig).connect, 14 * time.Second, 18 * time.Second, func(w *wire) {
			w.send(header(0x0103, 1, make([]byte, 90))[len(w.s.in):][:1])
		}},
		{"desktop idle", func(r *rig) *wire { return r.login("ann", windows) }, 119 * time.Second, 123 * time.Second, nil},
		{"web idle", func(r *rig) *wire { return r.login("ann", browser) }, 119 * time.Second, 123 * time.Second, nil},
		{"mobile idle", func(r *rig) *wire { return r.login("ann", android) }, 299 * time.Second, 303 * time.Second, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				w := c.begin(r)
				start := time.Now()
				for time.Since(start) < c.lives {
					r.sleep(time.Second, w)
					if c.during != nil && !w.over && time.Since(start) < 10*time.Second {
						c.during(w)
					}
				}
				if w.over {
					t.Fatalf("closed after %v", time.Since(start))
				}
				r.sleep(c.over-time.Since(start), w)
				if !w.over {
					t.Fatal("not closed")
				}
			})
		})
	}
}

func TestAnyByteKeepsASessionAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.login("ann", android)
		for range 5 {
			r.sleep(4*time.Minute, w)
			w.send(pdutest.Heartbeat)
		}
		if w.over {
			t.Error("closed")
		}
	})
}

func TestMalformedInput(t *testing.T) {
	for _, c := range pdutest.Malformed {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, split := range []bool{false, true} {
					r := newRig(t)
					w := r.connect()
					if c.AfterLogin {
						w = r.login("ann", windows)
					}
					if split {
						for _, b := range c.Bytes {
							if !w.over {
								w.send([]byte{b})
							}
						}
					} else {
						w.send(c.Bytes)
					}
					r.step(w)
					if w.over != (c.Want == pdutest.Close) {
						t.Fatalf("split %v: closed %v, want %s", split, w.over, c.Want)
					}
					if c.Want == pdutest.Ignore {
						w.nothing()
						w.send(pdutest.Heartbeat)
						if string(w.got) != string(pdutest.Heartbeat) {
							t.Errorf("the connection does not go on: %x", w.got)
						}
					}
				}
			})
		})
	}
}

func TestWhatCameBeforeABadLengthIsAnswered(t *testing.T) {
	for _, c := range pdutest.Malformed {
		if c.Want != pdutest.Close {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			w := r.connect()
			if c.AfterLogin {
				w = r.login("ann", windows)
			}
			w.send(slices.Concat(pdutest.Heartbeat, c.Bytes))
			r.step(w)
			if !w.over || !strings.HasPrefix(string(w.got), string(pdutest.Heartbeat)) {
				t.Errorf("%s: closed %v, answered %x", c.Name, w.over, w.got)
			}
		})
	}
}

func TestIncompletePDUsOfAllSessionsTogetherAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Limits.PartialInput = 300 << 10 })
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		half := header(client.CmdMsgData, 1, make([]byte, 390<<10))[:200<<10]
		ann.send(half)
		if ann.over {
			t.Fatal("closed below the limit")
		}
		for i := 0; i < len(half) && !bob.over; i += 10_000 {
			bob.send(half[i:min(i+10_000, len(half))])
		}
		if !bob.over || ann.over {
			t.Errorf("closed: ann %v, bob %v", ann.over, bob.over)
		}
		ann.s.Closed(nil)
		if n := r.srv.partial.Load(); n != 0 {
			t.Errorf("%d bytes are still counted", n)
		}
	})
}

func TestEveryRequestIsAnsweredOrIgnored(t *testing.T) {
	answers := map[uint16]uint16{
		0x0108: 0, 0x010a: 0, // of a desktop
		0x2011: 0x2012, 0x2013: 0x2014,
		0x010c: 0x010d, 0x010e: 0x010f, 0x0201: 0x0202, 0x0204: 0x0205, 0x0206: 0x0207, 0x0208: 0x0209, 0x020a: 0x020b,
		0x020c: 0x020d, 0x0210: 0x0211, 0x0213: 0x0214, 0x0301: 0, 0x0302: 0, 0x0303: 0, 0x0307: 0x0308, 0x0309: 0x030a,
		0x030b: 0x030c, 0x030d: 0x030e, 0x0401: 0x0402, 0x0403: 0x0404, 0x0405: 0x0406, 0x0407: 0x0408, 0x0409: 0x040a,
		0x2001: 0x2002, 0x2005: 0x2006, 0x2007: 0x2008, 0x200a: 0, 0x200c: 0x200d, 0x200e: 0,
		0x2017: 0x2018,
		0x0506: 0x0507, 0x0509: 0x050a, 0x050b: 0, 0x050c: 0, 0x0601: 0,
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.login("ann", windows)
		for command, body := range pdutest.Requests {
			w.send(header(command, 0xff03, body))
			for range 3 { // a group takes two appends
				r.step(w)
			}
			all := w.take()
			want, known := answers[command]
			switch {
			case !known:
				t.Errorf("%s is not in the table", client.Name(command))
			case want == 0 && len(all) != 0:
				t.Errorf("%s: got %v, want no answer", client.Name(command), all)
			case want != 0 && (len(all) != 1 || all[0].Command != want || all[0].Seq != 0xff03):
				t.Errorf("%s: got %v", client.Name(command), all)
			}
			for _, g := range all {
				if b, _ := proto.Marshal(g.m); strings.Contains(g.String(), "attach_data") {
					t.Errorf("attach_data in %x", b)
				}
			}
			if w.over {
				t.Fatalf("%s closed the connection", client.Name(command))
			}
		}
		phone := r.login("bob", android)
		phone.send(header(0x0108, 3, []byte("\x08\x05\x12\x01t")))
		r.step(phone)
		if m := one[*imlogin.IMDeviceTokenRsp](phone, 3); m.GetUserId() != 2 {
			t.Errorf("device token: %v", m)
		}
	})
}

func TestAClientThatTalksAndNeverReadsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.talk(1)
		bob.deaf = true
		beat := func(n int) {
			for range n {
				time.Sleep(10 * time.Second)
				for _, w := range []*wire{ann, bob} {
					if !w.over {
						w.s.Input(header(cmdHeartbeat, 1, nil))
						w.pump()
					}
				}
				r.settle(ann, bob)
			}
		}
		beat(6)
		if bob.over {
			t.Fatal("closed too early")
		}
		beat(2)
		if !bob.over {
			t.Error("its output is kept for ever")
		}
		beat(60)
		if ann.over {
			t.Error("a client that reads is closed as well")
		}
	})
}

func TestOnesManyPasswordChecksDoNotHoldUpAnothers(t *testing.T) {
	var mu sync.Mutex
	var order []int
	begun, goOn := make(chan struct{}), make(chan struct{})
	p := fair[string, int]{limit: 1, run: func(n int) {
		if n == 0 {
			close(begun)
			<-goOn
		}
		mu.Lock()
		order = append(order, n)
		mu.Unlock()
	}}
	p.put("guesser", 0)
	<-begun
	for n := range 5 {
		p.put("guesser", 1+n)
	}
	p.put("ann", 100)
	p.put("bob", 200)
	p.put("ann", 101)
	close(goOn)
	p.close()
	if want := []int{0, 1, 100, 200, 2, 101, 3, 4, 5}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if p.put("ann", 1) {
		t.Error("a closed pool takes more")
	}
}

func TestAJobThatWaitsForItsClientLeavesItsPlaceToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := make(chan int, 10)
		slow := make(chan struct{})
		var p pool[int]
		p = pool[int]{limit: 1, run: func(n int) {
			if n == 0 {
				p.idle(func() { <-slow })
			}
			ran <- n
		}}
		for n := range 3 {
			p.put(n)
		}
		synctest.Wait()
		if len(ran) != 2 || <-ran != 1 || <-ran != 2 {
			t.Error("the others wait for a client that does not read")
		}
		close(slow)
		p.close()
		if <-ran != 0 || p.running != 0 || p.waiting != 0 {
			t.Errorf("%d run and %d wait at the end", p.running, p.waiting)
		}
	})
}

func TestSessionsOfOneUserAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.Policy, _ = commands.ParseDevicePolicy("none")
			c.Limits.PerUser = 2
		})
		first, second := r.login("ann", windows), r.login("ann", windows)
		third := r.connect()
		third.send(third.pack(client.CmdLoginReq, 9, loginReq("ann", "pw", windows)))
		r.step(first, second, third)
		if res := one[*imlogin.IMLoginRes](third, 9); res.GetResultCode() != loginServer || !third.over || first.over || second.over {
			t.Errorf("third login: %v", res)
		}
		r.login("bob", windows)
		second.s.Closed(nil)
		second.over = true
		r.settle(first)
		r.login("ann", windows)
	})
}
