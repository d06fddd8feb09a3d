package up

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"godwit/connector/pictures"
	"godwit/internal/admin"
	"godwit/schema/query"
)

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
