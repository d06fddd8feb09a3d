package up

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"godwit/connector/pictures"
	"godwit/internal/admin"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/query"
)

// statusLimit bounds each question of a status: what is not known by then is left out, for
// a status is asked for when something is away.
const statusLimit = 5 * time.Second

// hearProjectors has a status know who keeps views.
func (p *process) hearProjectors(context.Context) error {
	heard, err := owner.HearProjectors(p.bus)
	if err != nil {
		return err
	}
	p.projectors = heard
	p.closers = append(p.closers, func() error {
		heard.Close()
		return nil
	})
	return nil
}

// Status gathers what there is to say about the process, and about the others of its log.
func (p *process) Status(ctx context.Context) (admin.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	st := admin.Status{
		Version: Version(), Role: string(p.role), PID: os.Getpid(), Started: p.started, Durability: p.bus.DurabilityText(),
		HTTP: p.public.Addr().String(), Log: p.bus.LogID().String(), Partitions: p.bus.Partitions(),
		Contacts: p.cfg.Contacts, Advertise: p.cfg.Advertise,
	}
	if p.srv != nil {
		st.Listen, st.Sessions = p.srv.Addr().String(), p.srv.Sessions()
		if a := p.srv.TLSAddr(); a != nil {
			st.TLSListen = a.String()
		}
	}
	if err := p.Ready(ctx); err != nil {
		st.NotReady = err.Error()
	} else {
		st.Ready = true
	}
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	// ask asks for one thing beside the others.
	ask := func(what string, f func() error) {
		all.Go(func() {
			if err := f(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				st.Unknown = append(st.Unknown, fmt.Sprintf("%s: %v", what, err))
			}
		})
	}
	projectors := p.projectors.Live()
	st.Nodes = p.nodes(projectors)
	st.Streams = make([]admin.StreamStatus, len(p.bus.Streams()))
	for i, s := range p.bus.Streams() {
		ask(s.String(), func() (err error) {
			st.Streams[i], err = p.stream(ctx, s, projectors)
			return err
		})
	}
	ask("people online", func() error {
		ans, err := p.node.Ask(ctx, &query.Request{Body: &query.Request_PresenceTotals{PresenceTotals: &query.PresenceTotals{}}})
		st.DesktopOnline = int(ans.GetPresenceTotals().GetDesktopOnlineUsers())
		return err
	})
	ask("leases", func() error {
		leases, err := p.bus.Leases(ctx)
		for _, l := range leases {
			st.Leases = append(st.Leases, admin.LeaseStatus{Name: l.Name, Process: l.Process, Renewed: l.Renewed})
		}
		return err
	})
	ask("pushes", func() error { return p.pushStatus(ctx, &st.Pushes) })
	ask("files", func() (err error) {
		if f := p.files; f != nil {
			st.Files = &admin.FileStatus{Advertise: net.JoinHostPort(f.at.Host, strconv.Itoa(int(f.at.Port)))}
			if f.ln != nil {
				st.Files.Listen = f.ln.Addr().String()
			}
			st.Files.StoreStatus, err = room(ctx, f.store.Room)
		}
		return err
	})
	st.Pictures = admin.PictureStatus{URL: p.cfg.PictureURL, Upload: cmp.Or(p.cfg.PictureUpload, string(pictures.Session))}
	ask("pictures", func() (err error) {
		st.Pictures.StoreStatus, err = room(ctx, p.pictures.Room)
		return err
	})
	all.Wait()
	slices.Sort(st.Unknown)
	return st, nil
}

// nodes are the live processes, by their beats.
func (p *process) nodes(projectors []owner.Projector) []admin.NodeStatus {
	all := []admin.NodeStatus{}
	for _, l := range p.node.Lives() {
		n := admin.NodeStatus{Process: l.Process, Node: l.Node, Role: "gateway", State: "", Clock: l.Ahead.Seconds()}
		if l.Capacity > 0 {
			n.Role, n.Advertise, n.Clients, n.Capacity, n.State = "connector", l.Advertise, l.Clients, l.Capacity, "no clients now"
			if l.Serves {
				n.State = "serves"
			}
		}
		if l.Stopping {
			n.State = "stopping"
		}
		all = append(all, n)
	}
	for _, j := range projectors {
		n := admin.NodeStatus{Process: j.Process, Node: j.Node, Role: "projector", Views: len(j.Views)}
		for _, v := range j.Views {
			if v.GetTerm() != nil {
				n.Owns++
			}
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b admin.NodeStatus) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Process, b.Process))
	})
	return all
}

// stream is how a stream stands at its servers and at the projectors.
func (p *process) stream(ctx context.Context, s event.Stream, projectors []owner.Projector) (admin.StreamStatus, error) {
	st := admin.StreamStatus{Name: s.String(), View: owner.FoldFor(s).Name(), Standbys: []admin.ViewCopy{}}
	if p.owners != nil {
		if v := p.owners.View(s); v != nil {
			st.Folded, st.Committed = v.Folded(), v.Committed()
		}
	}
	for _, j := range projectors {
		v := j.Views[s]
		switch {
		case v == nil:
		case v.GetTerm() != nil:
			st.Owner = &admin.ViewCopy{Process: j.Process, Node: j.Node, Folded: v.GetFolded(), Warm: v.GetWarm()}
		default:
			st.Standbys = append(st.Standbys, admin.ViewCopy{Process: j.Process, Node: j.Node, Folded: v.GetFolded(), Warm: v.GetWarm()})
		}
	}
	h, err := p.bus.StreamHealth(ctx, s)
	st.Last, st.Leader, st.Replicas, st.Current = h.Last, h.Leader, h.Replicas, h.Current
	return st, err
}

// pushStatus is who sends pushes to whom, and who is behind.
func (p *process) pushStatus(ctx context.Context, st *admin.PushStatus) error {
	st.Sending, st.Targets = p.pushes.Sending(), []admin.TargetStatus{}
	ans, err := p.node.Ask(ctx, &query.Request{Body: &query.Request_Webhooks{Webhooks: &query.Webhooks{}}})
	if err != nil {
		return err
	}
	waits := p.pushes.Backlogs()
	for _, h := range ans.GetWebhooks().GetWebhooks() {
		t := admin.TargetStatus{ID: h.GetId(), Disabled: h.GetDisabled()}
		if age, known := waits[t.ID]; known && !t.Disabled {
			t.BacklogSeconds = new(age.Seconds())
		}
		st.Targets = append(st.Targets, t)
	}
	slices.SortFunc(st.Targets, func(a, b admin.TargetStatus) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}

// room is how full a store is.
func room(ctx context.Context, ask func(context.Context) (all, left int64, err error)) (admin.StoreStatus, error) {
	all, left, err := ask(ctx)
	st := admin.StoreStatus{Room: uint64(all)}
	if err == nil {
		st.Left = new(uint64(left))
	}
	return st, err
}

// Replay rebuilds and compares every view while the server goes on.
func (p *process) Replay(ctx context.Context, _ bool, progress func(view string, done, total uint64)) (admin.ReplayReport, error) {
	if p.owners == nil {
		return admin.ReplayReport{}, fmt.Errorf("%w: this process keeps no views", admin.ErrConflict)
	}
	if !p.replaying.TryLock() {
		return admin.ReplayReport{}, fmt.Errorf("%w: a replay is running", admin.ErrConflict)
	}
	defer p.replaying.Unlock()
	return replayRunning(ctx, p.bus, p.owners, p.log, progress)
}
