package up

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"

	"godwit/connector/pictures"
	"godwit/internal/admin"
	"godwit/schema/query"
)

// Status gathers what there is to say about the process.
func (p *process) Status(ctx context.Context) (admin.Status, error) {
	st := admin.Status{
		Version: Version(), PID: os.Getpid(), Started: p.started, Durability: p.bus.DurabilityText(),
		HTTP: p.public.Addr().String(), Log: p.bus.LogID().String(), Partitions: p.bus.Partitions(),
		Contacts: p.cfg.Contacts,
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
	for _, s := range p.bus.Streams() {
		last, err := p.bus.LastSequence(ctx, s)
		if err != nil {
			return st, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
		}
		stream := admin.StreamStatus{Name: s.String(), Last: last}
		if p.owners != nil {
			if v := p.owners.View(s); v != nil {
				stream.View, stream.Folded, stream.Committed = v.Name(), v.Folded(), v.Committed()
			}
		}
		st.Streams = append(st.Streams, stream)
	}
	ans, err := p.node.Ask(ctx, &query.Request{Body: &query.Request_PresenceTotals{PresenceTotals: &query.PresenceTotals{}}})
	if err != nil {
		return st, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	st.DesktopOnline = int(ans.GetPresenceTotals().GetDesktopOnlineUsers())
	return st, p.outside(ctx, &st)
}

// Replay rebuilds and compares every view while the server goes on.
func (p *process) Replay(ctx context.Context, _ bool, progress func(view string, done, total uint64)) (admin.ReplayReport, error) {
	if p.owners == nil {
		return admin.ReplayReport{}, fmt.Errorf("%w: this process keeps no views: stop a projector and run godwit replay --data in its directory", admin.ErrConflict)
	}
	if !p.replaying.TryLock() {
		return admin.ReplayReport{}, fmt.Errorf("%w: a replay is running", admin.ErrConflict)
	}
	defer p.replaying.Unlock()
	return replayRunning(ctx, p.bus, p.owners, p.log, progress)
}

// outside says how what stands beside the clients' port is: files, pictures, pushes.
func (p *process) outside(ctx context.Context, st *admin.Status) error {
	if f := p.files; f != nil {
		st.Files = &admin.FileStatus{
			Listen: f.ln.Addr().String(), Advertise: net.JoinHostPort(f.at.Host, strconv.Itoa(int(f.at.Port))), StoreStatus: p.store(ctx, "files", f.store.Room),
		}
	}
	st.Pictures = admin.PictureStatus{URL: p.cfg.PictureURL, Upload: cmp.Or(p.cfg.PictureUpload, string(pictures.Session)), StoreStatus: p.store(ctx, "pictures", p.pictures.Room)}
	ans, err := p.node.Ask(ctx, &query.Request{Body: &query.Request_Webhooks{Webhooks: &query.Webhooks{}}})
	if err != nil {
		return fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	st.Pushes = admin.PushStatus{Sending: p.pushes.Sending(), Targets: []admin.TargetStatus{}}
	waits := p.pushes.Backlogs()
	for _, h := range ans.GetWebhooks().GetWebhooks() {
		t := admin.TargetStatus{ID: h.GetId(), Disabled: h.GetDisabled()}
		if age, known := waits[t.ID]; known && !t.Disabled {
			t.BacklogSeconds = new(age.Seconds())
		}
		st.Pushes.Targets = append(st.Pushes.Targets, t)
	}
	slices.SortFunc(st.Pushes.Targets, func(a, b admin.TargetStatus) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}

// store asks how full a store is. What can't be said now is left out: the rest of a status is worth having.
func (p *process) store(ctx context.Context, name string, room func(context.Context) (all, left int64, err error)) admin.StoreStatus {
	all, left, err := room(ctx)
	st := admin.StoreStatus{Room: uint64(all)}
	if err != nil {
		p.log.Warn("room of a store not known now", "store", name, "err", err)
		return st
	}
	st.Left = new(uint64(left))
	return st
}
