package connector

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
	"godwit/schema/query"
)

// sync answers as timelines do: what changed after the positions, in order, a page of each
// stream at a time.
func (n *fakeNode) sync(q *query.Sync) *query.SyncAnswer {
	a := &query.SyncAnswer{}
	for p := range testPartitions {
		s := event.ConversationStream(p)
		epoch := event.ID{14: n.epoch, 15: byte(s) + 1}
		since := uint64(0)
		for _, al := range q.Since {
			switch {
			case al.Stream != uint32(s):
			case bytes.Equal(al.Epoch, epoch[:]):
				since = al.Sequence
			default:
				a.Whole = append(a.Whole, uint32(s))
			}
		}
		var keys []event.ConversationKey
		for k, at := range n.touched {
			if k.Stream(testPartitions) == s && at > since && k.Peer(q.User) != 0 {
				keys = append(keys, k)
			}
		}
		slices.SortFunc(keys, func(x, y event.ConversationKey) int { return cmp.Compare(n.touched[x], n.touched[y]) })
		next := n.sequence[s]
		if n.page > 0 && len(keys) > n.page {
			a.More, keys = true, keys[:n.page]
			next = n.touched[keys[n.page-1]]
		}
		for _, k := range keys {
			e := &query.SyncEntry{Conversation: slices.Clone(k[:]), Head: n.heads[k], Cursor: n.cursors[k][q.User], PeerRead: n.cursors[k][k.Peer(q.User)]}
			if log := n.log[k]; len(log) > 0 {
				e.Latest = proto.CloneOf(log[len(log)-1])
				e.Updated = e.Latest.Created
			}
			a.Entries = append(a.Entries, e)
		}
		a.Next = append(a.Next, &query.AtLeast{Stream: uint32(s), Sequence: next, Epoch: epoch[:]})
	}
	return a
}

// synced logs in with a token and gives what followed the answer.
func (r *rig) synced(name string, token []byte) (w *wire, rest []got) {
	r.t.Helper()
	req := loginReq(name, "pw", windows)
	req.SyncToken = token
	w = r.connect()
	w.send(w.pack(client.CmdLoginReq, 9, req))
	r.step(w)
	all := w.take()
	if len(all) == 0 || all[0].Command != client.CmdLoginRes {
		r.t.Fatalf("login: %v", all)
	}
	return w, slices.DeleteFunc(all[1:], func(g got) bool { return g.Command == client.CmdUserStatNotify })
}

// sums puts answers together as a client does, and tells their number.
func sums(t *testing.T, seq uint16, all []got) (rsp *imextension.SyncRsp, pdus int) {
	t.Helper()
	rsp = &imextension.SyncRsp{}
	for i, g := range all {
		m, ok := g.m.(*imextension.SyncRsp)
		if !ok || g.Seq != seq || m.GetMore() != (i < len(all)-1) {
			t.Fatalf("answer %d of %d: %v", i+1, len(all), g)
		}
		if m.GetWhole() && i > 0 {
			t.Errorf("answer %d is whole", i+1)
		}
		proto.Merge(rsp, m)
		rsp.SyncToken = m.SyncToken
	}
	return rsp, len(all)
}

func entriesOf(rsp *imextension.SyncRsp) (all []string) {
	for _, e := range rsp.GetEntries() {
		all = append(all, fmt.Sprintf("%d: %d read %d, peer %d", e.GetSessionId(), e.GetLatestMsgId(), e.GetReadMsgId(), e.GetPeerRead()))
	}
	slices.Sort(all)
	return all
}

func TestALoginWithATokenIsFollowedByWhatHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.push(2, 1, "one")
		r.node.push(3, 1, "two")
		r.step()
		r.node.news = &query.PeopleChangedAnswer{Latest: 7, Directory: true, Departments: true, Friends: true}

		w, all := r.synced("ann", []byte{})
		rsp, n := sums(t, 9, all)
		if n != 1 || !rsp.GetWhole() || !slices.Equal(entriesOf(rsp), []string{"2: 1 read 0, peer 1", "3: 1 read 0, peer 1"}) {
			t.Fatalf("everything: %v", all)
		}
		if !rsp.GetDirectoryChanged() || !rsp.GetDepartmentsChanged() || !rsp.GetFriendsChanged() {
			t.Errorf("of people: %v", rsp)
		}
		if e := rsp.Entries[0]; string(e.GetLatest().GetMsgData()) != "one" || e.GetLatest().GetMsgId() != 1 || e.GetUpdatedTime() == 0 {
			t.Errorf("entry %v", e)
		}
		token := rsp.SyncToken
		if len(token) >= 150 {
			t.Errorf("a token of %d bytes", len(token))
		}
		r.node.news = &query.PeopleChangedAnswer{Latest: 7}
		asked := r.node.asked.Load()
		w.send(w.pack(client.CmdSyncReq, 4, &imextension.SyncReq{SyncToken: token}))
		same := one[*imextension.SyncRsp](w, 4)
		if len(same.Entries) != 0 || same.Whole != nil || same.More != nil || same.DirectoryChanged != nil || !bytes.Equal(same.SyncToken, token) {
			t.Errorf("nothing has changed: %v", same)
		}
		if n := r.node.asked.Load() - asked; n != 2 {
			t.Errorf("%d questions", n)
		}
		since := uint32(0)
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			since = max(since, q.GetPeopleChanged().GetSince())
			return nil, nil
		})
		w.send(w.pack(client.CmdSyncReq, 5, &imextension.SyncReq{SyncToken: token}))
		if one[*imextension.SyncRsp](w, 5); since != 7 {
			t.Errorf("people asked for since %d", since)
		}

		r.node.push(1, 2, "three") // by another device
		r.step(w)
		w.take()
		w, all = r.synced("ann", token)
		rsp, _ = sums(t, 9, all)
		if rsp.Whole != nil || !slices.Equal(entriesOf(rsp), []string{"2: 2 read 2, peer 1"}) || rsp.DirectoryChanged != nil {
			t.Errorf("one has changed: %v", rsp)
		}
		r.node.push(2, 1, "four")
		r.step(w)
		if m := one[*immessage.IMMsgData](w, 0); m.GetMsgId() != 3 {
			t.Errorf("pushed after it: %v", m)
		}
	})
}

func TestATokenThatIsNoneGivesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.push(2, 1, "one")
		r.node.push(2, 3, "to cy")
		r.step()
		_, all := r.synced("ann", []byte{})
		rsp, _ := sums(t, 9, all)
		good := rsp.SyncToken
		_, all = r.synced("bob", []byte{})
		bobs, _ := sums(t, 9, all)
		early := slices.Clone(good)
		early[len(early)-1] ^= 0x80 // its last number does not end
		for name, token := range map[string][]byte{
			"short": good[:syncHead-1], "without streams": good[:syncHead], "cut": good[:len(good)-1], "longer": append(slices.Clone(good), 0),
			"of another user": bobs.SyncToken, "of another version": append([]byte{9}, good[1:]...), "unfinished": early,
			"text": []byte(strings.Repeat("x", 60)), "huge": make([]byte, 3000),
		} {
			_, all := r.synced("ann", token)
			rsp, _ := sums(t, 9, all)
			if !rsp.GetWhole() || !slices.Equal(entriesOf(rsp), []string{"2: 1 read 0, peer 1"}) || !bytes.Equal(rsp.SyncToken, good) {
				t.Errorf("%s: %v", name, rsp)
			}
		}
		// The log has lost its tail: positions mean something else now.
		r.node.set(func() { r.node.epoch++ })
		_, all = r.synced("ann", good)
		if rsp, _ := sums(t, 9, all); !rsp.GetWhole() || len(rsp.Entries) != 1 || bytes.Equal(rsp.SyncToken, good) {
			t.Errorf("of an older history: %v", rsp)
		}
	})
}

// The views may learn of a lost tail before the node does.
func TestAStreamGivenWholeMakesTheAnswerWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.push(2, 1, "one")
		r.node.push(3, 1, "two")
		r.step()
		_, all := r.synced("ann", []byte{})
		rsp, _ := sums(t, 9, all)
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if s := q.GetSync(); len(s.GetSince()) > 0 {
				return &query.Answer{Body: &query.Answer_Sync{Sync: &query.SyncAnswer{Whole: []uint32{uint32(event.Conversation0)}}}}, nil
			}
			return nil, nil
		})
		_, all = r.synced("ann", rsp.SyncToken)
		if rsp, _ := sums(t, 9, all); !rsp.GetWhole() || len(rsp.Entries) != 2 {
			t.Errorf("answer %v", rsp)
		}
	})
}

// many gives ann conversations with so many people, and a message in each.
func (r *rig) many(people int, body string) {
	r.node.set(func() {
		for i := range people {
			k := event.Direct(1, uint32(10+i))
			s := k.Stream(testPartitions)
			r.node.sequence[s]++
			r.node.touched[k], r.node.heads[k] = r.node.sequence[s], 1
			r.node.log[k] = []*query.Message{{Id: 1, From: uint32(10 + i), Created: uint32(1 + i), Type: 1, Body: []byte(body)}}
		}
	})
}

func TestALongAnswerComesInSeveralPDUs(t *testing.T) {
	for name, page := range map[string]int{"one page": 0, "many pages": 37} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.node.page = page
				r.many(3000, strings.Repeat("x", 400))
				r.node.news = &query.PeopleChangedAnswer{Latest: 7, Directory: true}
				_, all := r.synced("ann", []byte{})
				rsp, pdus := sums(t, 9, all)
				ids := map[uint32]bool{}
				for _, e := range rsp.Entries {
					ids[e.GetSessionId()] = true
				}
				if pdus < 3 || len(ids) != 3000 || len(rsp.Entries) != 3000 {
					t.Fatalf("%d conversations, %d different, in %d PDUs", len(rsp.Entries), len(ids), pdus)
				}
				if all[0].m.(*imextension.SyncRsp).DirectoryChanged != nil || !rsp.GetDirectoryChanged() {
					t.Error("what has changed of people does not come last")
				}
				// Whoever leaves in the middle goes on from there, and misses nothing.
				for i, g := range all[:len(all)-1] {
					seen := map[uint32]bool{}
					for _, g := range all[:i+1] {
						for _, e := range g.m.(*imextension.SyncRsp).Entries {
							seen[e.GetSessionId()] = true
						}
					}
					if i > 5 {
						break
					}
					_, rest := r.synced("ann", g.m.(*imextension.SyncRsp).SyncToken)
					more, _ := sums(t, 9, rest)
					for _, e := range more.Entries {
						seen[e.GetSessionId()] = true
					}
					if len(seen) != 3000 || !more.GetDirectoryChanged() {
						t.Errorf("gone on after PDU %d: %d conversations, directory %v", i+1, len(seen), more.DirectoryChanged)
					}
				}
			})
		})
	}
}

// What a page says and what is pushed meanwhile come in the order of the log: an entry never
// follows a push that it does not know of, nor a push an entry that has it.
func TestPushesStandWhereTheyBelongBetweenThePDUsOfAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.page = 100
		r.many(1600, strings.Repeat("x", 400))
		w := r.login("ann", windows)
		w.take()
		// After each page somebody writes, into a conversation given already or yet to come.
		pages := 0
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetSync() == nil {
				return nil, nil
			}
			pages++
			ask := proto.CloneOf(q.GetSync())
			ans := &query.Answer{}
			r.node.set(func() {
				for s, seq := range r.node.sequence {
					ans.At = append(ans.At, &query.AtLeast{Stream: uint32(s), Sequence: seq})
				}
				ans.Body = &query.Answer_Sync{Sync: r.node.sync(ask)}
			})
			for i := range 40 {
				r.node.push(uint32(10+(i*41+pages*7)%1600), 1, "new")
			}
			r.node.step()
			return ans, nil
		})
		w.send(w.pack(client.CmdSyncReq, 4, &imextension.SyncReq{SyncToken: []byte{}}))
		r.settle(w)
		heads, pushes, pdus := map[uint32]uint32{}, 0, 0
		for _, g := range w.take() {
			switch m := g.m.(type) {
			case *immessage.IMMsgData:
				pushes++
				if known, ok := heads[m.GetFromUserId()]; ok && m.GetMsgId() != known+1 {
					t.Fatalf("message %d of %d was pushed, and %d was known", m.GetMsgId(), m.GetFromUserId(), known)
				}
				heads[m.GetFromUserId()] = m.GetMsgId()
			case *imextension.SyncRsp:
				pdus++
				for _, e := range m.Entries {
					if e.GetLatestMsgId() < heads[e.GetSessionId()] {
						t.Fatalf("%d: entry with %d after a push of %d", e.GetSessionId(), e.GetLatestMsgId(), heads[e.GetSessionId()])
					}
					heads[e.GetSessionId()] = e.GetLatestMsgId()
				}
			}
		}
		if pages < 4 || pdus < 4 || pushes < 100 {
			t.Errorf("%d pages, %d PDUs, %d pushes: nothing was tried", pages, pdus, pushes)
		}
	})
}

func TestSyncEntries(t *testing.T) {
	srv, err := New(testConfig(t, cheapHasher(t)))
	if err != nil {
		t.Fatal(err)
	}
	a := &asking{s: &session{srv: srv, user: 1}}
	grp := event.Group(5)
	got := a.syncEntries([]*query.SyncEntry{
		{Conversation: grp[:], Head: 3, Cursor: 2, Updated: 9, Version: 4, Shielded: true, Changed: []uint32{1, 2},
			Latest: &query.Message{Id: 3, From: 8, Created: 9, Type: 0x11, Recalled: true}},
		{Conversation: key(1, 2), Head: 1, Updated: 5, Removed: true, Blocked: true, PeerRead: 1, PeerDelivered: 1,
			Latest: &query.Message{Id: 1, From: 1, Created: 5, Type: 1, Body: make([]byte, maxPreview+1), Edits: 2, ClientMessageId: []byte("0123456789abcdef")}},
		{Conversation: key(1, 3), Left: true},
		{Conversation: key(4, 3), Head: 1},
		{Conversation: []byte("?")},
	})
	if len(got) != 3 || !got[0].GetLeft() || got[1].GetSessionId() != 2 || got[2].GetSessionId() != 5 || got[2].GetSessionType() != group {
		t.Fatalf("entries %v", got)
	}
	two, of := got[1], got[2]
	if !two.GetRemoved() || !two.GetBlocked() || two.GetPeerRead() != 1 || two.GetPeerDelivered() != 1 || two.Version != nil || two.Shielded != nil {
		t.Errorf("of two: %v", two)
	}
	if m := two.GetLatest(); m.MsgData == nil || len(m.MsgData) != 0 || m.GetEdits() != 2 || m.Recalled != nil || string(m.ClientMessageId) != "0123456789abcdef" {
		t.Errorf("a large body: %v", m)
	}
	if m := of.GetLatest(); !m.GetRecalled() || !bytes.Equal(m.MsgData, srv.recalled) || m.GetFromSessionId() != 8 || m.GetMsgType() != 0x11 {
		t.Errorf("a recalled one: %v", m)
	}
	ids := make([]uint32, 2*maxChanged+5)
	for i := range ids {
		ids[i] = uint32(i + 1)
	}
	parts := a.syncEntries([]*query.SyncEntry{{Conversation: key(1, 2), Head: 9999, Cursor: 7, Changed: ids,
		Latest: &query.Message{Id: 9999, From: 2, Type: 1, Body: []byte("x")}}})
	if len(parts) != 3 {
		t.Fatalf("%d entries for so many changes", len(parts))
	}
	var all []uint32
	for i, e := range parts {
		if all = append(all, e.Changed...); e.GetLatestMsgId() != 9999 || e.GetReadMsgId() != 7 || (e.Latest != nil) != (i == 0) {
			t.Errorf("part %d: %d of %d, latest %v", i, e.GetReadMsgId(), e.GetLatestMsgId(), e.Latest)
		}
	}
	if !slices.Equal(all, ids) {
		t.Errorf("%d of %d changes are told", len(all), len(ids))
	}
	if of.GetVersion() != 4 || !of.GetShielded() || !slices.Equal(of.Changed, []uint32{1, 2}) || of.GetReadMsgId() != 2 {
		t.Errorf("of a group: %v", of)
	}
}

// A token of eight partitions, as large as one can be, is well below 150 bytes, and with it an
// answer that has nothing to tell.
func TestATokenIsSmall(t *testing.T) {
	at := seenUpTo{people: math.MaxUint32, streams: make([]*query.AtLeast, event.DefaultPartitions)}
	for i := range at.streams {
		at.streams[i] = &query.AtLeast{Sequence: 1 << 40, Epoch: bytes.Repeat([]byte{255}, 16)}
	}
	if n := len(at.token(math.MaxUint32)); n >= 150 {
		t.Errorf("%d bytes", n)
	}
}

func TestALoginWithoutATokenIsFollowedByNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if _, all := r.synced("ann", nil); len(all) != 0 {
			t.Errorf("got %v", all)
		}
		// An answer that can't be had closes the session, as it does for every list.
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetSync() != nil {
				time.Sleep(time.Second)
				return nil, errAway
			}
			return nil, nil
		})
		req := loginReq("bob", "pw", windows)
		req.SyncToken = []byte{}
		w := r.connect()
		w.send(w.pack(client.CmdLoginReq, 9, req))
		r.step(w)
		r.sleep(2*time.Second, w)
		if all := w.take(); len(all) == 0 || all[0].m.(*imlogin.IMLoginRes).GetResultCode() != loginOK || !w.over {
			t.Errorf("got %v, closed %t", all, w.over)
		}
	})
}

// Whom the user blocks of those he has never written with is in the friend list, which a client asks for when it is told that
// it has changed: with the token that stands for it, as the client may be cut off behind any.
func TestASyncTellsThatAStrangerWasBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.push(2, 1, "one")
		r.node.push(3, 1, "two")
		r.step()
		r.node.page = 1
		_, rest := r.synced("ann", []byte{})
		first, _ := sums(t, 9, rest)
		r.node.mu.Lock()
		stranger := event.Direct(1, 9) // nobody has written
		for partition := range testPartitions {
			r.node.sequence[event.ConversationStream(partition)]++
		}
		r.node.touched[stranger] = r.node.sequence[stranger.Stream(testPartitions)]
		r.node.mu.Unlock()
		r.node.push(2, 1, "three")
		r.step()
		_, rest = r.synced("ann", first.SyncToken)
		second, _ := sums(t, 9, rest)
		if !second.GetFriendsChanged() || !slices.Equal(entriesOf(second), []string{"2: 2 read 0, peer 2"}) {
			t.Errorf("%v", second)
		}
		for _, g := range rest {
			m := g.m.(*imextension.SyncRsp)
			at, ok := r.srv.parseSync(m.SyncToken, 1)
			passed := at.streams[stranger.Stream(testPartitions).Partition()].GetSequence() >= r.node.touched[stranger]
			if !ok || passed != m.GetFriendsChanged() {
				t.Errorf("a token that passes it: %v, and it says so: %v", passed, m.GetFriendsChanged())
			}
			if m.GetFriendsChanged() {
				break
			}
		}
		if _, rest = r.synced("ann", second.SyncToken); len(rest) != 1 || rest[0].m.(*imextension.SyncRsp).GetFriendsChanged() {
			t.Errorf("later: %v", rest)
		}
	})
}
