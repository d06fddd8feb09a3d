package e2e

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/bus"
	"godwit/internal/e2e/e2etest"
	imbase "godwit/schema/client/basedefine"
	imgroup "godwit/schema/client/group"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// TestAnyInterleaving has people on PCs and phones of two nodes do all that can be done to
// conversations, at once and by chance: what comes of it is what the log defines, on every
// view and in every answer, and everybody has heard exactly what was his to hear. Once
// with frames that get lost, stretches of them, so that much of it is heard by refills
// over changes of members.
func TestAnyInterleaving(t *testing.T) {
	t.Run("frames arrive", func(t *testing.T) { anyInterleaving(t, 0) })
	t.Run("frames are lost", func(t *testing.T) { anyInterleaving(t, 30) })
}

func anyInterleaving(t *testing.T, lost int) {
	t.Parallel()
	r := e2etest.NewRig(t)
	o := r.Owner("owner")
	edges := []*e2etest.Edge{r.Edge("a"), r.Edge("b")}
	ids := edges[0].Register(t, 8)
	rnd := random(t)
	c := newCompany(t, rnd.Uint64())
	c.where = func() map[event.Stream]uint64 {
		at := map[event.Stream]uint64{}
		for _, s := range o.Bus.Streams() {
			n, err := o.Bus.LastSequence(t.Context(), s)
			if err != nil {
				t.Error(err)
			}
			at[s] = n
		}
		return at
	}
	for i, id := range ids {
		c.add(id, e2etest.Name(i), e2etest.DeviceWindows, edges[i%2].Addr)
		if i%2 == 0 {
			c.add(id, e2etest.Name(i), e2etest.DeviceAndroid, edges[(i/2)%2].Addr)
		}
	}
	c.begin(4)
	if lost > 0 {
		d := &dice{rnd: rnd}
		o.Losing(func(_ event.ID, f *frame.Frame) bool { return d.stretch(f.Stream, lost) })
	}
	enough := map[string]int{"sent": 200, "pushed": 500, "recalled": 1, "edited": 1, "members changed": 10, "kicked": 1, "0x040b heard": 20}
	for range max(1, *flagRounds/20) {
		c.act(8*time.Millisecond, func() {
			time.Sleep(3 * *flagDuration / 2)
			c.until(enough)
		})
		if lost > 0 {
			r.Eventually("frames were lost", func() bool { return o.Dropped.Load() > 20 })
		}
		o.Losing(nil)
		c.quiet()
		said := c.record()
		h := readHistory(t, o.Bus)
		said.against(h)
		c.compare(h)
		for _, s := range o.Bus.Streams() {
			replayed(t, o, s)
		}
	}
	c.told(enough)
	for _, d := range c.devices {
		d.visit.leave()
	}
}

// TestChangesAtOnce has the administrator of a group change its members from a PC and a
// phone on two nodes at the same moment, and then all members at once: every change is
// made, one after the other, and told to everybody once.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	o := r.Owner("owner")
	var appends atomic.Int64
	r.Hooks = &bus.Hooks{Sending: func(s event.Stream, _ uint64, attempt int) {
		if s.IsConversation() && attempt == 1 {
			appends.Add(1)
		}
	}}
	edges := []*e2etest.Edge{r.Edge("a"), r.Edge("b")}
	ids := edges[0].Register(t, 16)
	c := newCompany(t, random(t).Uint64())
	for i, id := range ids {
		c.add(id, e2etest.Name(i), e2etest.DeviceWindows, edges[i%2].Addr)
	}
	c.add(ids[0], e2etest.Name(0), e2etest.DeviceAndroid, edges[1].Addr)
	c.begin(0)
	pc, phone := c.devices[0].visit, c.devices[16].visit
	pc.found(ids[1:8])
	c.check()
	g := c.groups[0]

	const adds, removes = imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD, imbase.GroupModifyType_GROUP_MODIFY_TYPE_DEL
	version := uint32(1)
	// atOnce makes changes of which each has an effect.
	atOnce := func(changes ...func() *imgroup.IMGroupChangeMemberRsp) {
		t.Helper()
		answers := make([]*imgroup.IMGroupChangeMemberRsp, len(changes))
		var all sync.WaitGroup
		for i, f := range changes {
			all.Go(func() { answers[i] = f() })
		}
		all.Wait()
		for i, a := range answers {
			if a.GetResultCode() != 0 {
				t.Errorf("change %d of %d at once was refused", i+1, len(changes))
			}
		}
		c.check()
		version += uint32(len(changes))
		list, _ := pc.groupInfo([]uint32{g})
		if len(list) != 1 || list[0].GetVersion() != version {
			t.Fatalf("after %d changes at once the group is %v, should be at version %d", len(changes), list, version)
		}
		// One of them is the last, and what it was answered is how the group is.
		if !slices.ContainsFunc(answers, func(a *imgroup.IMGroupChangeMemberRsp) bool {
			return numbers(ascending(a.GetCurUserIdList())) == numbers(ascending(list[0].GetGroupMemberList()))
		}) {
			t.Errorf("nobody was told of %v at last", list[0].GetGroupMemberList())
		}
	}
	for range *flagRounds {
		atOnce(
			func() *imgroup.IMGroupChangeMemberRsp { return pc.change(adds, g, ids[8:10]) },
			func() *imgroup.IMGroupChangeMemberRsp { return phone.change(removes, g, ids[1:3]) },
		)
		atOnce(
			func() *imgroup.IMGroupChangeMemberRsp { return pc.change(removes, g, ids[8:10]) },
			func() *imgroup.IMGroupChangeMemberRsp { return phone.change(adds, g, ids[1:3]) },
		)
	}
	for range max(1, *flagRounds/4) {
		var all []func() *imgroup.IMGroupChangeMemberRsp
		for i := range 8 {
			all = append(all, func() *imgroup.IMGroupChangeMemberRsp { return c.devices[i].visit.change(adds, g, ids[8+i:9+i]) })
		}
		atOnce(all...)
		atOnce(func() *imgroup.IMGroupChangeMemberRsp { return phone.change(removes, g, ids[8:]) })
	}

	c.quiet()
	said := c.record()
	h := readHistory(t, o.Bus)
	said.against(h)
	c.compare(h)
	made := len(h.dialogs[event.Group(g)].changes)
	if lost := int(appends.Load()) - made; uint32(made) != version || lost <= 0 {
		t.Errorf("%d changes came to version %d, and %d came second at their first try", made, version, lost)
	} else {
		t.Logf("%d changes, %d tries came second", made, lost)
	}
	replayed(t, o, event.Group(g).Stream(e2etest.RigPartitions))
	for _, d := range c.devices {
		d.visit.leave()
	}
}
