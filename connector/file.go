package connector

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/commands"
	"godwit/connector/files"
	"godwit/internal/origin"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imfile "godwit/schema/client/file"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// Files keeps file transfers; [files.Store] is one, and says what it refuses.
type Files interface {
	Create(ctx context.Context, from, to uint32, name string, size uint32, online bool) (files.Task, error)
	Find(ctx context.Context, id string) (files.Task, error)
	Remove(ctx context.Context, t files.Task) error
	// Keep is how long a stored file waits to be fetched.
	Keep() time.Duration
}

// FileAddress is where clients reach the file server.
type FileAddress struct {
	Host string
	Port uint16
}

// fileHandlers serve file transfer, as far as it concerns this port.
func fileHandlers() map[uint16]handler {
	return map[uint16]handler{
		client.CmdFileReq:           other[imfile.IMFileReq](requestFile),
		client.CmdFileHasOfflineReq: timeline[imfile.IMFileHasOfflineReq](waitingFiles),
		client.CmdFileAddOfflineReq: other[imfile.IMFileAddOfflineReq](offerFile),
		client.CmdFileDelOfflineReq: other[imfile.IMFileDelOfflineReq](removeFile),
	}
}

// addresses are those of the file server as clients read them.
func (srv *Server) addresses() []*imbase.IpAddr {
	if srv.cfg.Files == nil || srv.cfg.FileAt.Host == "" {
		return nil
	}
	return []*imbase.IpAddr{{Ip: &srv.cfg.FileAt.Host, Port: new(uint32(srv.cfg.FileAt.Port))}}
}

// errNoFiles: this server passes no files.
var errNoFiles = errors.New("no file server")

// requestFile is 0x0506. What is refused is answered with result 1.
func requestFile(a *asking, m *imfile.IMFileReq) error {
	s := a.s
	rsp := &imfile.IMFileRsp{ResultCode: new(failed), FromUserId: &s.user, ToUserId: m.ToUserId, FileName: m.FileName,
		TaskId: new(""), TransMode: m.TransMode}
	t, err := a.makeTransfer(m)
	if err != nil {
		a.refusedFile(err)
		return a.answer(client.CmdFileRsp, rsp)
	}
	mode := transferMode(t.Online)
	rsp.ResultCode, rsp.TaskId, rsp.TransMode, rsp.IpAddrList = new(uint32(0)), &t.ID, &mode, s.srv.addresses()
	if err := a.answer(client.CmdFileRsp, rsp); err != nil {
		return err
	}
	if err := a.flush(); err != nil { // before anybody else hears of it
		return err
	}
	k := event.Direct(s.user, t.To)
	ctx, cancel := a.timeout()
	defer cancel()
	offer := &frame.FileOffer{Conversation: k[:], From: s.user, To: t.To, Task: t.ID, Name: fileName(t.Name), Size: t.Size, Online: t.Online}
	for _, at := range rsp.IpAddrList {
		offer.At = append(offer.At, &frame.FileAddress{Host: at.GetIp(), Port: at.GetPort()})
	}
	if err := s.srv.node.Relay(ctx, &frame.Relay{Conversation: k[:], From: s.user, Session: s.id[:], File: offer}); err != nil {
		// The receiver does not hear of it now; of a stored file he will.
		s.srv.log.Debug("offer of a file not passed on", "user", s.user, "err", err)
	}
	return nil
}

func transferMode(online bool) imbase.TransferFileType {
	if online {
		return imbase.TransferFileType_FILE_TYPE_ONLINE
	}
	return imbase.TransferFileType_FILE_TYPE_OFFLINE
}

// fileName is a name as events and frames can hold it.
func fileName(name string) string { return strings.ToValidUTF8(name, "\ufffd") }

// refusedFile counts a request about a file that came to nothing.
func (a *asking) refusedFile(err error) {
	name := "failure"
	if r, ok := commands.AsRefusal(err); ok {
		name = r.Name()
	} else {
		for known, is := range map[string]error{"file_off": errNoFiles, "file_size": files.ErrSize, "file_name": files.ErrName,
			"file_count": files.ErrTooMany, "file_room": files.ErrNoRoom, "file_task": files.ErrNoTask} {
			if errors.Is(err, is) {
				name = known
			}
		}
	}
	if name == "failure" {
		a.s.srv.log.Warn("request about a file failed", "user", a.s.user, "err", err)
	}
	a.s.srv.refuse(name, a.s, err)
}

// makeTransfer makes a task: online where it is wanted and the receiver has a desktop,
// else by way of the store.
func (a *asking) makeTransfer(m *imfile.IMFileReq) (files.Task, error) {
	s, store := a.s, a.s.srv.cfg.Files
	if store == nil {
		return files.Task{}, errNoFiles
	}
	to := m.GetToUserId()
	permit, err := a.filePermit(to)
	if err != nil {
		return files.Task{}, err
	}
	if err := (commands.RequestFile{From: s.user, To: to}).Check(permit); err != nil {
		return files.Task{}, err
	}
	online := m.GetTransMode() == imbase.TransferFileType_FILE_TYPE_ONLINE
	if online {
		ans, err := a.view(&query.Request{Body: &query.Request_Statuses{Statuses: &query.Statuses{Users: []uint32{to}}}})
		if err != nil {
			return files.Task{}, err
		}
		online = slices.Contains(ans.GetStatuses().GetDesktopOnline(), true)
	}
	ctx, cancel := a.timeout()
	defer cancel()
	return store.Create(ctx, s.user, to, m.GetFileName(), m.GetFileSize(), online)
}

// filePermit is what the views say about sending files to a user. Unlike messages, files
// are few, so all of it is asked anew.
func (a *asking) filePermit(to uint32) (commands.Permit, error) {
	s := a.s
	var p commands.Permit
	if to == 0 || to == s.user {
		return p, nil
	}
	ans, err := a.view(&query.Request{Body: &query.Request_Relations{Relations: &query.Relations{User: s.user, Others: []uint32{to}}}})
	if err != nil {
		return p, err
	}
	for _, r := range ans.GetRelations().GetRelations() {
		if r.GetOther() == to && r.GetExists() {
			p.Peer = commands.Person{Number: to, Disabled: r.GetDisabled()}
			p.Stranger = s.srv.cfg.Contacts == Friends && !r.GetFriends()
		}
	}
	k := event.Direct(s.user, to)
	stream := []uint32{uint32(k.Stream(s.srv.cfg.Partitions))}
	for _, pair := range [][2]uint32{{s.user, to}, {to, s.user}} {
		ans, err := a.timeline(k, &query.Request{Body: &query.Request_Blocks{Blocks: &query.Blocks{User: pair[0], Streams: stream}}})
		if err != nil {
			return p, err
		}
		p.Blocked = p.Blocked || slices.Contains(ans.GetUsers().GetUsers(), pair[1])
	}
	return p, nil
}

// waitingFiles is 0x0509.
func waitingFiles(a *asking, _ *imfile.IMFileHasOfflineReq) error {
	rsp := &imfile.IMFileHasOfflineRsp{UserId: &a.s.user, IpAddrList: a.s.srv.addresses()}
	store := a.s.srv.cfg.Files
	if store == nil {
		return a.answer(client.CmdFileHasOfflineRsp, rsp)
	}
	ans, err := a.owners(&query.Request{Body: &query.Request_Files{Files: &query.Files{User: a.s.user}}})
	if err != nil {
		return err
	}
	oldest := time.Now().Add(-store.Keep()).UnixMilli()
	var list []*imbase.OfflineFileInfo
	for _, f := range ans.GetFiles().GetFiles() {
		if f.GetTo() == a.s.user && f.GetOffered() > oldest {
			list = append(list, &imbase.OfflineFileInfo{FromUserId: &f.From, TaskId: &f.Task, FileName: &f.Name, FileSize: &f.Size})
		}
	}
	rsp.OfflineFileList = fits(list)
	return a.answer(client.CmdFileHasOfflineRsp, rsp)
}

// offerFile is 0x050b: the file is uploaded. It has no answer; the receiver is told.
func offerFile(a *asking, m *imfile.IMFileAddOfflineReq) error {
	s, store := a.s, a.s.srv.cfg.Files
	if store == nil {
		return nil
	}
	t, err := a.findTask(m.GetTaskId())
	switch {
	case err != nil:
	case t.From != s.user || t.To != m.GetToUserId():
		err = commands.ErrNotYours
	case t.Online || t.Complete.IsZero():
		err = files.ErrNoTask // there is nothing to be fetched
	}
	var ev *event.Event
	if err == nil {
		var permit commands.Permit
		if permit, err = a.filePermit(t.To); err != nil {
			return err
		}
		ev, err = commands.OfferFile{At: time.Now(), From: s.user, To: t.To, Session: s.id, Task: t.ID, Name: t.Name, Size: t.Size}.Decide(permit)
	}
	if err != nil {
		a.refusedFile(err)
		return nil
	}
	_, err = a.append(event.Direct(s.user, t.To).Stream(s.srv.cfg.Partitions), "", 0, ev)
	return err
}

// removeFile is 0x050c, by the receiver who has fetched the file, or by either who wants it
// gone. It has no answer.
func removeFile(a *asking, m *imfile.IMFileDelOfflineReq) error {
	s, store := a.s, a.s.srv.cfg.Files
	if store == nil {
		return nil
	}
	from, to := m.GetFromUserId(), m.GetToUserId()
	ev, err := commands.RemoveFile{At: time.Now(), User: s.user, From: from, To: to, Session: s.id, Task: m.GetTaskId()}.Decide()
	if err != nil {
		a.refusedFile(err)
		return nil
	}
	r, err := a.append(event.Direct(from, to).Stream(s.srv.cfg.Partitions), "", 0, ev)
	if err != nil {
		return err
	}
	if r.Void != frame.Void_VOID_NONE && r.Void != frame.Void_VOID_NO_EFFECT {
		return nil
	}
	// Also what was never offered, or taken away without its bytes.
	t, err := a.findTask(m.GetTaskId())
	if err == nil && (t.From != from || t.To != to || t.Complete.IsZero() && t.From != s.user) {
		err = commands.ErrNotYours
	}
	if err == nil {
		ctx, cancel := a.timeout()
		defer cancel()
		err = store.Remove(ctx, t)
	}
	if err != nil {
		a.refusedFile(err)
	}
	return nil
}

func (a *asking) findTask(id string) (files.Task, error) {
	ctx, cancel := a.timeout()
	defer cancel()
	return a.s.srv.cfg.Files.Find(ctx, id)
}

// fileNotice is 0x0508 for a desktop session of the receiver; nil for any other.
func (s *session) fileNotice(f *frame.FileOffer, at []*imbase.IpAddr, ready bool) *imfile.IMFileNotify {
	if f.GetTo() != s.user || !s.desktop() || len(at) == 0 {
		return nil
	}
	n := &imfile.IMFileNotify{FromUserId: &f.From, ToUserId: &f.To, FileName: &f.Name, FileSize: &f.Size, TaskId: &f.Task,
		IpAddrList: at, TransMode: new(transferMode(f.GetOnline())), OfflineReady: new(uint32(0))}
	if ready {
		n.OfflineReady = new(uint32(1))
	}
	return n
}

// passFile tells the receiver's desktops here that a transfer begins. It runs under the
// node's lock.
func (srv *Server) passFile(r *frame.Relay) {
	f := r.GetFile()
	if !slices.Contains(r.GetTo(), f.GetTo()) {
		return
	}
	var at []*imbase.IpAddr
	for _, a := range f.GetAt() {
		at = append(at, &imbase.IpAddr{Ip: &a.Host, Port: &a.Port})
	}
	srv.each(f.GetTo(), func(s *session) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.state != open || event.ToID(r.GetSession()) == s.id {
			return
		}
		if n := s.fileNotice(f, at, false); n != nil {
			s.sendLocked(client.CmdFileNotify, 0, n)
			s.wire.Wake()
		}
	})
}

// HasAddress tells whether somebody is logged in from that address on this server. It may be
// asked by strangers, at any rate: it costs one look and holds up no session.
func (srv *Server) HasAddress(a netip.Addr) bool { return srv.present.has(a) }

// presentAt counts who is logged in by address.
type presentAt struct {
	mu    sync.Mutex
	count map[netip.Addr]int32
}

func (p *presentAt) has(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[origin.Of(a)] > 0
}

// add counts one who has come (1) or gone (-1).
func (p *presentAt) add(a netip.Addr, n int32) {
	key := origin.Of(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[key] += n; p.count[key] == 0 {
		delete(p.count, key)
	}
}
