package connector

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/connector/files"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imfile "godwit/schema/client/file"
	imlogin "godwit/schema/client/login"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// fakeFiles keeps transfers in memory.
type fakeFiles struct {
	mu     sync.Mutex
	tasks  map[string]files.Task
	refuse error
}

const testTask = "0b9d5d0e-0000-4000-8000-00000000000"

func (f *fakeFiles) Create(_ context.Context, from, to uint32, name string, size uint32, online bool) (files.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return files.Task{}, f.refuse
	}
	t := files.Task{ID: testTask + string(rune('0'+len(f.tasks))), From: from, To: to, Name: name, Size: size, Online: online, Made: time.Now()}
	f.tasks[t.ID] = t
	return t, nil
}

func (f *fakeFiles) Find(_ context.Context, id string) (files.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.tasks[id]
	if !ok {
		return t, files.ErrNoTask
	}
	return t, nil
}

func (f *fakeFiles) Remove(_ context.Context, t files.Task) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.tasks, t.ID)
	return nil
}

func (f *fakeFiles) Keep() time.Duration { return 24 * time.Hour }

// stored says that a task's file is there.
func (f *fakeFiles) stored(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tasks[id]
	t.Complete, t.Stored = time.Now(), t.Size
	f.tasks[id] = t
}

// relays hears what is relayed.
type relays struct {
	*fakeNode
	mu   sync.Mutex
	list []*frame.Relay
}

func (n *relays) Relay(_ context.Context, r *frame.Relay) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, r)
	return nil
}

// fileRig is a rig with files; what the views say is as the fields do.
type fileRig struct {
	*rig
	files  *fakeFiles
	relays *relays

	online  []uint32    // users with a desktop
	friends bool        // all of them
	blocks  [][2]uint32 // who blocks whom
	waiting []*query.File
}

func newFileRig(t *testing.T, edit ...func(c *Config)) *fileRig {
	r := &fileRig{files: &fakeFiles{tasks: map[string]files.Task{}}}
	r.rig = newRig(t, append(edit, func(c *Config) {
		c.Files, c.FileAt = r.files, FileAddress{"files.example.org", 8600}
	})...)
	r.relays = &relays{fakeNode: r.node}
	r.srv.node = r.relays
	r.node.hook(func(q *query.Request) (*query.Answer, error) {
		switch b := q.GetBody().(type) {
		case *query.Request_Relations:
			var list []*query.Relation
			for _, u := range b.Relations.GetOthers() {
				list = append(list, &query.Relation{Other: u, Exists: u <= 3, Friends: r.friends})
			}
			return &query.Answer{Body: &query.Answer_Relations{Relations: &query.RelationsAnswer{Relations: list}}}, nil
		case *query.Request_Statuses:
			ans := &query.StatusesAnswer{}
			for _, u := range b.Statuses.GetUsers() {
				ans.DesktopOnline = append(ans.DesktopOnline, slices.Contains(r.online, u))
				ans.Online = append(ans.Online, true) // in browsers
			}
			return &query.Answer{Body: &query.Answer_Statuses{Statuses: ans}}, nil
		case *query.Request_Blocks:
			ans := &query.UsersAnswer{}
			for _, pair := range r.blocks {
				if pair[0] == b.Blocks.GetUser() {
					ans.Users = append(ans.Users, pair[1])
				}
			}
			return &query.Answer{Body: &query.Answer_Users{Users: ans}}, nil
		case *query.Request_Files:
			return &query.Answer{Body: &query.Answer_Files{Files: &query.FilesAnswer{Files: r.waiting}}}, nil
		}
		return nil, nil
	})
	return r
}

func fileReq(to uint32, name string, size uint32, mode imbase.TransferFileType) *imfile.IMFileReq {
	return &imfile.IMFileReq{FromUserId: new(uint32(99)), ToUserId: &to, FileName: &name, FileSize: &size, TransMode: &mode}
}

const (
	onlineFile  = imbase.TransferFileType_FILE_TYPE_ONLINE
	offlineFile = imbase.TransferFileType_FILE_TYPE_OFFLINE
)

func TestATransferIsMadeAndOffered(t *testing.T) {
	for _, c := range []struct {
		name         string
		wanted, made imbase.TransferFileType
		online       []uint32
	}{
		{"online", onlineFile, onlineFile, []uint32{2}},
		{"receiver without a desktop", onlineFile, offlineFile, []uint32{1}},
		{"offline although he is there", offlineFile, offlineFile, []uint32{2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFileRig(t)
				r.online = c.online
				ann := r.login("ann", windows)
				ann.take()
				name := "C:\\\xff.txt"
				ann.send(ann.pack(client.CmdFileReq, 0xff01, fileReq(2, name, 500, c.wanted)))
				m := one[*imfile.IMFileRsp](ann, 0xff01)
				if m.GetResultCode() != 0 || m.GetFromUserId() != 1 || m.GetToUserId() != 2 || m.GetFileName() != name || m.GetTransMode() != c.made ||
					len(m.GetTaskId()) != 36 || len(m.GetIpAddrList()) != 1 || m.GetIpAddrList()[0].GetIp() != "files.example.org" || m.GetIpAddrList()[0].GetPort() != 8600 {
					t.Errorf("answer %v", m)
				}
				if len(r.relays.list) != 1 {
					t.Fatalf("relayed %v", r.relays.list)
				}
				f := r.relays.list[0].GetFile()
				if f.GetFrom() != 1 || f.GetTo() != 2 || f.GetTask() != m.GetTaskId() || f.GetSize() != 500 || f.GetOnline() != (c.made == onlineFile) ||
					f.GetName() != "C:\\\ufffd.txt" || len(f.GetAt()) != 1 {
					t.Errorf("offer %v", f)
				}
				if task := r.files.tasks[m.GetTaskId()]; task.From != 1 || task.To != 2 || task.Name != name {
					t.Errorf("task %+v", task)
				}
			})
		})
	}
}

func TestAnOfferReachesTheReceiversDesktopsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFileRig(t, func(c *Config) { c.Policy, _ = commands.ParseDevicePolicy("none") })
		ann, bob, mac, phone, cy := r.login("ann", windows), r.login("bob", windows), r.login("bob", mac), r.login("bob", android), r.login("cy", windows)
		page := r.login("bob", browser)
		all := []*wire{ann, bob, mac, phone, page, cy}
		r.settle(all...)
		for _, w := range all {
			w.take()
		}
		offer := &frame.FileOffer{Conversation: key(1, 2), From: 1, To: 2, Task: testTask + "7", Name: "n", Size: 3, Online: true,
			At: []*frame.FileAddress{{Host: "elsewhere", Port: 1}}}
		check := func(what string, ready uint32, host string, mode imbase.TransferFileType) {
			t.Helper()
			r.settle(all...)
			for _, w := range []*wire{bob, mac} {
				m := one[*imfile.IMFileNotify](w, 0)
				if m.GetFromUserId() != 1 || m.GetToUserId() != 2 || m.GetTaskId() != offer.Task || m.GetFileName() != "n" || m.GetFileSize() != 3 ||
					m.GetOfflineReady() != ready || m.OfflineReady == nil || m.GetTransMode() != mode || len(m.GetIpAddrList()) != 1 || m.GetIpAddrList()[0].GetIp() != host {
					t.Errorf("%s: %v", what, m)
				}
			}
			for _, w := range []*wire{ann, phone, page, cy} {
				for _, g := range w.take() {
					if g.Command == client.CmdFileNotify {
						t.Errorf("%s reached somebody else: %v", what, g)
					}
				}
			}
		}
		// The other end's file server, for a transfer that begins; the own one for what lies ready.
		r.srv.Handler().Relay(&frame.Relay{Conversation: key(1, 2), From: 1, To: []uint32{1, 2}, File: offer})
		check("offer", 0, "elsewhere", onlineFile)
		stored := &frame.FileOffer{Conversation: key(1, 2), From: 1, To: 2, Task: offer.Task, Name: "n", Size: 3}
		for _, w := range all {
			w.s.Deliver(&delivery.Delivery{Stream: 3, Sequence: 9, Delivery: &frame.Delivery{Body: &frame.Delivery_FileOffer{FileOffer: stored}}})
			w.s.Flush()
		}
		check("stored file", 1, "files.example.org", offlineFile)
		r.srv.Handler().Relay(&frame.Relay{Conversation: key(1, 2), From: 1, To: []uint32{1}, File: offer}) // he is not on this node
		r.settle(all...)
		bob.nothing()
	})
}

func TestFilesAreRefused(t *testing.T) {
	cases := map[string]struct {
		edit func(r *fileRig)
		cfg  func(c *Config)
		to   uint32
	}{
		"to nobody":            {to: 0},
		"to oneself":           {to: 1},
		"to who is not there":  {to: 9},
		"blocked by oneself":   {to: 2, edit: func(r *fileRig) { r.blocks = [][2]uint32{{1, 2}} }},
		"blocked by the other": {to: 2, edit: func(r *fileRig) { r.blocks = [][2]uint32{{2, 1}} }},
		"to a stranger":        {to: 2, cfg: func(c *Config) { c.Contacts = Friends }},
		"too large":            {to: 2, edit: func(r *fileRig) { r.files.refuse = files.ErrSize }},
		"too many":             {to: 2, edit: func(r *fileRig) { r.files.refuse = files.ErrTooMany }},
		"no room":              {to: 2, edit: func(r *fileRig) { r.files.refuse = files.ErrNoRoom }},
		"the store is away":    {to: 2, edit: func(r *fileRig) { r.files.refuse = errAway }},
		"no file server":       {to: 2, edit: func(r *fileRig) { r.srv.cfg.Files = nil }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFileRig(t, func(cfg *Config) {
					if c.cfg != nil {
						c.cfg(cfg)
					}
				})
				if c.edit != nil {
					c.edit(r)
				}
				ann := r.login("ann", windows)
				ann.take()
				ann.send(ann.pack(client.CmdFileReq, 5, fileReq(c.to, "n", 3, onlineFile)))
				m := one[*imfile.IMFileRsp](ann, 5)
				if m.GetResultCode() != 1 || m.GetTaskId() != "" || m.TaskId == nil || m.GetFileName() != "n" || m.GetToUserId() != c.to || len(m.GetIpAddrList()) != 0 {
					t.Errorf("answer %v", m)
				}
				if len(r.relays.list) != 0 || len(r.files.tasks) != 0 {
					t.Errorf("refused, and yet: %v, %v", r.relays.list, r.files.tasks)
				}
			})
		})
	}
	t.Run("friends may", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newFileRig(t, func(c *Config) { c.Contacts = Friends })
			r.friends = true
			ann := r.login("ann", windows)
			ann.take()
			ann.send(ann.pack(client.CmdFileReq, 5, fileReq(2, "n", 3, onlineFile)))
			if m := one[*imfile.IMFileRsp](ann, 5); m.GetResultCode() != 0 {
				t.Errorf("answer %v", m)
			}
		})
	})
}

func TestWaitingFilesAreThoseThatAreStillKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFileRig(t)
		now := time.Now()
		file := func(task string, age time.Duration) *query.File {
			return &query.File{From: 2, To: 1, Task: task, Name: "n" + task, Size: 7, Offered: now.Add(-age).UnixMilli()}
		}
		r.waiting = []*query.File{file("a", 24*time.Hour+time.Second), file("b", 24*time.Hour-time.Minute), file("c", time.Minute),
			{From: 1, To: 2, Task: "mine", Offered: now.UnixMilli()}}
		ann := r.login("ann", windows)
		ann.take()
		ann.send(ann.pack(client.CmdFileHasOfflineReq, 8, &imfile.IMFileHasOfflineReq{UserId: new(uint32(2))}))
		m := one[*imfile.IMFileHasOfflineRsp](ann, 8)
		var tasks []string
		for _, f := range m.GetOfflineFileList() {
			tasks = append(tasks, f.GetTaskId())
		}
		if m.GetUserId() != 1 || !slices.Equal(tasks, []string{"b", "c"}) || len(m.GetIpAddrList()) != 1 || len(m.AttachData) != 0 {
			t.Errorf("waiting %v", m)
		}
		// More than one answer holds: the oldest first, and no more.
		r.waiting = nil
		for range 1000 {
			r.waiting = append(r.waiting, &query.File{From: 2, To: 1, Task: testTask + "1", Name: strings.Repeat("n", 1000), Size: 7, Offered: now.UnixMilli()})
		}
		ann.send(ann.pack(client.CmdFileHasOfflineReq, 8, &imfile.IMFileHasOfflineReq{UserId: new(uint32(1))}))
		if n := len(one[*imfile.IMFileHasOfflineRsp](ann, 8).GetOfflineFileList()); n < 300 || n == 1000 {
			t.Errorf("%d files in one answer", n)
		}
	})
}

// offered makes a task from ann to bob whose file is there.
func (r *fileRig) offered(t *testing.T, online bool) string {
	task, err := r.files.Create(t.Context(), 1, 2, "n", 3, online)
	if err != nil {
		t.Fatal(err)
	}
	if !online {
		r.files.stored(task.ID)
	}
	return task.ID
}

func addOffline(to uint32, task string) *imfile.IMFileAddOfflineReq {
	return &imfile.IMFileAddOfflineReq{FromUserId: new(uint32(50)), ToUserId: &to, TaskId: &task, FileName: new("other"), FileSize: new(uint32(999))}
}

func delOffline(from, to uint32, task string) *imfile.IMFileDelOfflineReq {
	return &imfile.IMFileDelOfflineReq{FromUserId: &from, ToUserId: &to, TaskId: &task}
}

func TestOnlyTheUploaderOffersAndOnlyWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFileRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		task, online := r.offered(t, false), r.offered(t, true)
		half, _ := r.files.Create(t.Context(), 1, 2, "n", 3, false)
		send := func(w *wire, m *imfile.IMFileAddOfflineReq) {
			w.send(w.pack(client.CmdFileAddOfflineReq, 3, m))
			r.step(ann, bob)
			w.take()
		}
		send(bob, addOffline(2, task))
		send(bob, addOffline(1, task))
		send(ann, addOffline(3, task))
		send(ann, addOffline(2, online))
		send(ann, addOffline(2, half.ID))
		send(ann, addOffline(2, "../../etc/passwd"))
		r.blocks = [][2]uint32{{2, 1}}
		send(ann, addOffline(2, task))
		r.blocks = nil
		if ev := r.node.find("FileOffered"); ev != nil {
			t.Fatalf("appended %v", ev)
		}
		send(ann, addOffline(2, task))
		o := r.node.find("FileOffered").GetFileOffered()
		if o.GetFrom() != 1 || o.GetTo() != 2 || o.GetTask() != task || o.GetName() != "n" || o.GetSize() != 3 || event.ToID(o.GetSession()) != ann.s.id {
			t.Errorf("event %v", o)
		}
	})
}

func TestWhatIsSentWhileTheLogIsFullIsOfferedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFileRig(t)
		ann := r.login("ann", windows)
		task := r.offered(t, false)
		r.node.set(func() { r.node.full = true })
		ann.send(ann.pack(client.CmdFileAddOfflineReq, 3, addOffline(2, task)))
		r.sleep(time.Second, ann)
		r.step(ann)
		if r.node.find("FileOffered") != nil {
			t.Fatal("appended to a full log")
		}
		r.node.set(func() { r.node.full = false })
		r.sleep(time.Second, ann)
		r.step(ann)
		if r.node.find("FileOffered") == nil || ann.over {
			t.Fatal("not offered when there was room again")
		}
	})
}

func TestPartiesRemoveFilesAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFileRig(t)
		ann, bob, cy := r.login("ann", windows), r.login("bob", windows), r.login("cy", windows)
		task := r.offered(t, false)
		void := frame.Void_VOID_NONE
		r.node.set(func() {
			r.node.result = func(ev *event.Event) (delivery.Result, bool) {
				return delivery.Result{Void: void}, ev.GetFileRemoved() != nil
			}
		})
		send := func(w *wire, m *imfile.IMFileDelOfflineReq) {
			t.Helper()
			w.send(w.pack(client.CmdFileDelOfflineReq, 3, m))
			r.step(ann, bob, cy)
			for _, g := range w.take() {
				if g.Command>>8 == 5 {
					t.Errorf("answered with %v", g)
				}
			}
		}
		gone := func() bool { _, err := r.files.Find(t.Context(), task); return err != nil }
		send(cy, delOffline(1, 2, task))
		if r.node.find("FileRemoved") != nil {
			t.Fatal("a stranger's removal was appended")
		}
		send(cy, delOffline(1, 3, task)) // as if it were his: the log knows better, and so does the task
		send(cy, delOffline(3, 2, task))
		void = frame.Void_VOID_NO_EFFECT
		send(cy, delOffline(1, 3, task))
		if gone() {
			t.Fatal("a stranger has removed a file")
		}
		void = frame.Void_VOID_NOT_ALLOWED
		send(bob, delOffline(1, 2, task))
		if gone() {
			t.Fatal("removed though the log says no")
		}
		half, _ := r.files.Create(t.Context(), 1, 2, "n", 3, false)
		void = frame.Void_VOID_NO_EFFECT
		send(bob, delOffline(1, 2, half.ID))
		if _, err := r.files.Find(t.Context(), half.ID); err != nil {
			t.Fatal("the receiver has ended an upload")
		}
		send(ann, delOffline(1, 2, half.ID))
		if _, err := r.files.Find(t.Context(), half.ID); !errors.Is(err, files.ErrNoTask) {
			t.Fatal("the sender could not end his upload")
		}
		void = frame.Void_VOID_NONE
		send(bob, delOffline(1, 2, task))
		if !gone() {
			t.Fatal("not removed by its receiver")
		}
		if ev := r.node.find("FileRemoved").GetFileRemoved(); ev.GetUser() == 0 {
			t.Errorf("event %v", ev)
		}
	})
}

func TestHasAddressCountsWhoIsLoggedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFileRig(t)
		other := netip.MustParseAddr("198.51.100.200")
		if r.srv.HasAddress(testAddr) {
			t.Fatal("before anybody came")
		}
		r.connect()
		if r.srv.HasAddress(testAddr) {
			t.Fatal("a connection counts as a login")
		}
		bob := r.connect()
		bob.send(bob.pack(client.CmdLoginReq, 9, loginReq("bob", "pw", windows)))
		if r.srv.HasAddress(testAddr) {
			t.Fatal("a login that the log does not have yet counts")
		}
		bob.s.close(event.EndReason_END_REASON_CLOSED, false)
		r.step(bob)
		ann := r.login("ann", windows)
		if !r.srv.HasAddress(testAddr) || r.srv.HasAddress(other) {
			t.Fatal("after a login")
		}
		ann.send(ann.pack(client.CmdLogoutReq, 1, &imlogin.IMLogoutReq{}))
		r.step(ann)
		if r.srv.HasAddress(testAddr) {
			t.Fatal("after the logout")
		}
	})
}

// Whoever asks, over HTTP and as often as he likes, must not go through all sessions under
// the server's lock.
func TestHasAddressNeedsNotTheServersLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFileRig(t)
		r.login("ann", windows)
		answer := make(chan bool, 1)
		r.srv.mu.Lock()
		go func() { answer <- r.srv.HasAddress(testAddr) }()
		early := false
		for range 1_000_000 { // the clock of the bubble stands while somebody waits for a mutex
			if early = len(answer) > 0; early {
				break
			}
			runtime.Gosched()
		}
		r.srv.mu.Unlock()
		if has := <-answer; !early || !has {
			t.Fatalf("answered while the server's lock was held: %v, with %v", early, has)
		}
	})
}
