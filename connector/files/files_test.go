package files_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/connector/connectortest"
	"godwit/connector/files"
)

const (
	anna uint32 = 7
	bela uint32 = 9

	sender, receiver, uploader, downloader = 1, 2, 3, 4 // roles
	onlineMode, offlineMode                = 1, 2
	stReady, stCancel, stRefuse, stDone    = 0, 1, 2, 3
)

// rig is a file server over a real bus.
type rig struct {
	*bustest.Kit
	t      *testing.T
	store  *files.Store
	srv    *files.Server
	addr   string
	stop   func()
	config files.StoreConfig
	limits files.Limits
}

func newRig(t *testing.T, change func(*files.StoreConfig, *files.Limits)) *rig {
	t.Helper()
	r := &rig{Kit: bustest.New(t), t: t}
	r.config = files.StoreConfig{Room: 64 << 20}
	r.limits = files.Limits{Goodbye: time.Second}
	if change != nil {
		change(&r.config, &r.limits)
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// start brings a new server up on the bus, as another process would.
func (r *rig) start() {
	r.t.Helper()
	r.config.Bus = r.Bus
	r.config.Logger = slog.New(slog.NewTextHandler(r.t.Output(), nil))
	var err error
	if r.store, err = files.OpenStore(r.t.Context(), r.config); err != nil {
		r.t.Fatal(err)
	}
	if r.srv, err = files.New(files.Config{Store: r.store, Limits: r.limits, Logger: r.config.Logger}); err != nil {
		r.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.store.Run(ctx) })
	wg.Go(func() {
		if err := r.srv.Serve(ctx, small{ln}); err != nil {
			r.t.Errorf("serve: %v", err)
		}
	})
	r.stop = func() {
		cancel()
		wg.Wait()
	}
}

// small gives connections little room on the way to the client.
type small struct{ net.Listener }

func (l small) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
	}
	return c, err
}

func (r *rig) task(size uint32, online bool) files.Task {
	r.t.Helper()
	t, err := r.store.Create(r.t.Context(), anna, bela, `C:\temp\a b.txt`, size, online)
	if err != nil {
		r.t.Fatal(err)
	}
	return t
}

// peer is one side's connection.
type peer struct {
	*connectortest.Client
	t    *testing.T
	user uint32
	task string
}

// try logs in and gives the result.
func (r *rig) try(user uint32, task string, role uint32) (*peer, uint32) {
	r.t.Helper()
	p := &peer{connectortest.Dial(r.t, r.addr), r.t, user, task}
	seq := p.Send(5, 0x0501, connectortest.Body(nil).Num(1, user).Text(2, task).Num(3, role))
	m := p.Answer(0x0502, seq)
	if m.Text(2) != task {
		r.t.Fatalf("login answered for task %q, not %q", m.Text(2), task)
	}
	return p, m.Num(1)
}

func (r *rig) login(user uint32, task string, role uint32) *peer {
	r.t.Helper()
	p, code := r.try(user, task, role)
	if code != 0 {
		r.t.Fatalf("login of %d as %d refused", user, role)
	}
	return p
}

func (p *peer) pull(mode, offset, size uint32) uint16 {
	p.t.Helper()
	return p.Send(5, 0x0504, connectortest.Body(nil).Text(1, p.task).Num(2, p.user).Num(3, mode).Num(4, offset).Num(5, size))
}

func (p *peer) data(offset uint32, data []byte) {
	p.t.Helper()
	p.Send(5, 0x0505, connectortest.Body(nil).Num(1, 0).Text(2, p.task).Num(3, p.user).Num(4, offset).Bytes(5, data))
}

func (p *peer) tell(state uint32) {
	p.t.Helper()
	p.Send(5, 0x0503, connectortest.Body(nil).Num(1, state).Text(2, p.task).Num(3, p.user))
}

func (p *peer) expectState(state, user uint32) {
	p.t.Helper()
	m := p.AwaitCommand(0x0503)
	if m.Num(1) != state || m.Num(3) != user || m.Text(2) != p.task {
		p.t.Fatalf("state %d of user %d for %q, want %d of %d for %q", m.Num(1), m.Num(3), m.Text(2), state, user, p.task)
	}
}

// expectPull waits for a pull and gives its place.
func (p *peer) expectPull(mode uint32) (offset, size uint32) {
	p.t.Helper()
	m := p.AwaitCommand(0x0504)
	if m.Text(1) != p.task || m.Num(3) != mode {
		p.t.Fatalf("pull of %q in mode %d", m.Text(1), m.Num(3))
	}
	return m.Num(4), m.Num(5)
}

func (p *peer) expectData(seq uint16, offset uint32) []byte {
	p.t.Helper()
	m := p.Answer(0x0505, seq)
	if m.Num(1) != 0 || m.Text(2) != p.task || m.Num(4) != offset {
		p.t.Fatalf("data: result %d, task %q, offset %d, want %d", m.Num(1), m.Text(2), m.Num(4), offset)
	}
	return m.Bytes(5)
}

// upload answers pulls with pieces of content until it has answered n, or to the end, and
// gives the offset of the first.
func (p *peer) upload(content []byte, n int) (first uint32) {
	p.t.Helper()
	for i := 0; n < 0 || i < n; i++ {
		offset, size := p.expectPull(offlineMode)
		if i == 0 {
			first = offset
		}
		if want := min(files.Piece, uint32(len(content))-offset); size != want {
			p.t.Fatalf("pull of %d at %d, want %d", size, offset, want)
		}
		p.data(offset, content[offset:offset+size])
		if int(offset+size) == len(content) {
			break
		}
	}
	return first
}

// download fetches from offset on, piece by piece, at most n pieces.
func (p *peer) download(size, offset uint32, n int) (got []byte) {
	p.t.Helper()
	for i := 0; offset < size && (n < 0 || i < n); i++ {
		seq := p.pull(offlineMode, offset, files.Piece)
		b := p.expectData(seq, offset)
		got = append(got, b...)
		offset += uint32(len(b))
	}
	return got
}

func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b)
	return b
}

func TestOnlineTransferPassesFromSideToSide(t *testing.T) {
	r := newRig(t, nil)
	file := content(100_000)
	task := r.task(uint32(len(file)), true)
	to := r.login(bela, task.ID, receiver)
	to.Sync() // the heartbeat is echoed, and nothing else has come
	from := r.login(anna, task.ID, sender)
	to.expectState(stReady, anna)
	var got []byte
	for len(got) < len(file) {
		size := min(files.Piece, len(file)-len(got))
		seq := to.pull(onlineMode, uint32(len(got)), uint32(size))
		p := from.Await("pull", func(p connectortest.PDU) bool { return p.Command == 0x0504 })
		if p.Seq != seq {
			t.Fatalf("the pull reached the sender with number %d, not %d: it goes on as it is", p.Seq, seq)
		}
		m, _ := connectortest.ParseMessage(p.Body)
		if m.Num(2) != bela || int(m.Num(4)) != len(got) || int(m.Num(5)) != size {
			t.Fatalf("pull of user %d: %d at %d", m.Num(2), m.Num(5), m.Num(4))
		}
		from.data(m.Num(4), file[len(got):len(got)+size])
		got = append(got, to.expectData(seq, uint32(len(got)))...)
	}
	if !bytes.Equal(got, file) {
		t.Fatal("the file arrived damaged")
	}
	to.tell(stDone)
	from.expectState(stDone, bela)
	to.ExpectClosed()
	from.ExpectClosed()
	if _, err := r.store.Find(t.Context(), task.ID); !errors.Is(err, files.ErrNoTask) {
		t.Fatalf("the task of a transfer that is over: %v", err)
	}
}

func TestOnlineSidesMayComeBack(t *testing.T) {
	r := newRig(t, func(_ *files.StoreConfig, l *files.Limits) { l.Grace = time.Minute })
	file := content(96 << 10)
	task := r.task(uint32(len(file)), true)
	from := r.login(anna, task.ID, sender)
	to := r.login(bela, task.ID, receiver)
	to.expectState(stReady, anna)
	first := to.pull(onlineMode, 0, files.Piece)
	from.expectPull(onlineMode)
	from.Close() // with the pull not answered

	from = r.login(anna, task.ID, sender)
	if offset, _ := from.expectPull(onlineMode); offset != 0 {
		t.Fatalf("the sender who came back is asked for %d", offset)
	}
	from.data(0, file[:files.Piece])
	if got := to.expectData(first, 0); !bytes.Equal(got, file[:files.Piece]) {
		t.Fatal("data after the sender came back")
	}
	to.Sync()
	if late := to.Late(); len(late) > 0 {
		t.Fatalf("the receiver was told something by the sender's return: %v", late)
	}

	// The receiver comes back while his first connection still seems to be there, with a
	// pull on the way: its answer is not his.
	to.pull(onlineMode, files.Piece, files.Piece)
	from.expectPull(onlineMode)
	again := r.login(bela, task.ID, receiver)
	to.ExpectClosed()
	again.expectState(stReady, anna)
	from.data(files.Piece, file[files.Piece:2*files.Piece])
	second := again.pull(onlineMode, 2*files.Piece, files.Piece)
	from.expectPull(onlineMode)
	from.data(2*files.Piece, file[2*files.Piece:])
	if got := again.expectData(second, 2*files.Piece); !bytes.Equal(got, file[2*files.Piece:]) {
		t.Fatal("data after the receiver came back")
	}
	if late := again.Late(); len(late) > 0 {
		t.Fatalf("an answer for the old connection reached the new one: %v", late)
	}
}

func TestAnOnlineSideThatStaysAwayCancels(t *testing.T) {
	for _, gone := range []uint32{anna, bela} {
		t.Run(fmt.Sprint(gone), func(t *testing.T) {
			r := newRig(t, func(_ *files.StoreConfig, l *files.Limits) { l.Grace = 50 * time.Millisecond })
			task := r.task(10, true)
			from := r.login(anna, task.ID, sender)
			to := r.login(bela, task.ID, receiver)
			to.expectState(stReady, anna)
			leaver, other := from, to
			if gone == bela {
				leaver, other = to, from
			}
			leaver.Close()
			other.expectState(stCancel, gone)
			other.ExpectClosed()
			if _, code := r.try(gone, task.ID, map[uint32]uint32{anna: sender, bela: receiver}[gone]); code != 1 {
				t.Fatalf("login after the end: %d", code)
			}
		})
	}
	t.Run("before the other one came", func(t *testing.T) {
		r := newRig(t, func(_ *files.StoreConfig, l *files.Limits) { l.Grace = 50 * time.Millisecond })
		task := r.task(10, true)
		r.login(anna, task.ID, sender).Close()
		bustest.Eventually(t, "the task is over", func() bool {
			_, err := r.store.Find(t.Context(), task.ID)
			return errors.Is(err, files.ErrNoTask)
		})
	})
}

func TestOnlineRefusalAndCancelReachTheOtherSide(t *testing.T) {
	r := newRig(t, nil)
	for _, state := range []uint32{stCancel, stRefuse, stDone} {
		for _, by := range []uint32{anna, bela} {
			task := r.task(10, true)
			from := r.login(anna, task.ID, sender)
			to := r.login(bela, task.ID, receiver)
			to.expectState(stReady, anna)
			speaker, other := from, to
			if by == bela {
				speaker, other = to, from
			}
			speaker.tell(state)
			other.expectState(state, by)
			speaker.ExpectClosed()
			other.ExpectClosed()
		}
	}
	// Nobody is there to be told: who comes later is refused.
	task := r.task(10, true)
	to := r.login(bela, task.ID, receiver)
	to.tell(stRefuse)
	to.ExpectClosed()
	if _, code := r.try(anna, task.ID, sender); code != 1 {
		t.Fatalf("login to a refused transfer: %d", code)
	}
}

func TestOnlineBreachesEndTheTransfer(t *testing.T) {
	const size = 200_000
	for name, breach := range map[string]func(from, to *peer) (breaker *peer){
		"pull behind the end":   func(_, to *peer) *peer { to.pull(onlineMode, size, 1); return to },
		"pull of too much":      func(_, to *peer) *peer { to.pull(onlineMode, 0, 64<<10+1); return to },
		"pull of nothing":       func(_, to *peer) *peer { to.pull(onlineMode, 0, 0); return to },
		"pull in another mode":  func(_, to *peer) *peer { to.pull(offlineMode, 0, 10); return to },
		"pull as somebody else": func(_, to *peer) *peer { to.user = anna; to.pull(onlineMode, 0, 10); return to },
		"pull of another task":  func(_, to *peer) *peer { to.task = "x"; to.pull(onlineMode, 0, 10); return to },
		"pull by the sender":    func(from, _ *peer) *peer { from.pull(onlineMode, 0, 10); return from },
		"too many pulls": func(_, to *peer) *peer {
			for i := range uint32(9) {
				to.pull(onlineMode, i, 1)
			}
			return to
		},
		"data nobody asked for":  func(from, _ *peer) *peer { from.data(0, []byte("x")); return from },
		"data by the receiver":   func(_, to *peer) *peer { to.data(0, []byte("x")); return to },
		"ready said by a client": func(from, _ *peer) *peer { from.tell(stReady); return from },
		"state of another task":  func(from, _ *peer) *peer { from.task = "x"; from.tell(stDone); return from },
		"a second login": func(from, _ *peer) *peer {
			from.Send(5, 0x0501, connectortest.Body(nil).Num(1, anna).Text(2, from.task).Num(3, sender))
			return from
		},
		"a PDU that is too long": func(from, _ *peer) *peer {
			p := connectortest.Request(5, 0x0505, 1, nil)
			p.Length = 1 << 20
			from.Write(p.Bytes())
			return from
		},
		"a PDU of no length": func(from, _ *peer) *peer {
			p := connectortest.Request(5, 0x0505, 1, nil)
			p.Length = 0
			from.Write(p.Bytes())
			return from
		},
		"a body that is no message": func(from, _ *peer) *peer { from.Send(5, 0x0505, connectortest.Body("\xff\xff\xff")); return from },
		"more data than was asked for": func(from, to *peer) *peer {
			to.pull(onlineMode, 0, 10)
			from.expectPull(onlineMode)
			from.data(0, make([]byte, 11))
			return from
		},
		"data at another place": func(from, to *peer) *peer {
			to.pull(onlineMode, 0, 10)
			from.expectPull(onlineMode)
			from.data(1, make([]byte, 10))
			return from
		},
		"data in another's name": func(from, to *peer) *peer {
			to.pull(onlineMode, 0, 10)
			from.expectPull(onlineMode)
			from.user = bela
			from.data(0, make([]byte, 10))
			return from
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			task := r.task(size, true)
			from := r.login(anna, task.ID, sender)
			to := r.login(bela, task.ID, receiver)
			to.expectState(stReady, anna)
			breaker := breach(from, to)
			other, user := to, anna
			if breaker == to {
				other, user = from, bela
			}
			for _, p := range breaker.ExpectClosed() {
				t.Errorf("the breach was answered with 0x%04x", p.Command)
			}
			other.expectState(stCancel, user)
			other.ExpectClosed()
		})
	}
}

func TestOfflineUploadAndDownload(t *testing.T) {
	r := newRig(t, nil)
	for _, size := range []int{1, files.Piece, files.PartSize, files.PartSize + 1, 3*files.PartSize - 7} {
		file := content(size)
		task := r.task(uint32(size), false)
		if _, code := r.try(bela, task.ID, downloader); code != 1 {
			t.Fatal("download of what is not there yet")
		}
		up := r.login(anna, task.ID, uploader)
		up.upload(file, -1)
		up.expectState(stDone, anna)
		up.ExpectClosed()
		// His connection broke just before he heard that it is done.
		up = r.login(anna, task.ID, uploader)
		up.expectState(stDone, anna)
		for _, p := range up.ExpectClosed() {
			t.Fatalf("of a complete file the uploader gets 0x%04x", p.Command)
		}
		down := r.login(bela, task.ID, downloader)
		if got := down.download(uint32(size), 0, -1); !bytes.Equal(got, file) {
			t.Fatalf("%d bytes came back damaged", size)
		}
		down.expectState(stDone, anna)
		down.ExpectClosed()
	}
}

func TestAnUploadGoesOnWhereItBrokeOff(t *testing.T) {
	r := newRig(t, nil)
	const perPart = files.PartSize / files.Piece
	file := content(4*files.PartSize + 100)
	task := r.task(uint32(len(file)), false)

	up := r.login(anna, task.ID, uploader)
	up.upload(file, perPart+3) // one whole part and some more
	up.expectPull(offlineMode)
	up.Close()

	up = r.login(anna, task.ID, uploader)
	if first := up.upload(file, perPart); first != files.PartSize {
		t.Fatalf("the upload goes on at %d, one part is stored", first)
	}
	up.expectPull(offlineMode)
	// Another connection takes over from one that seems to be there.
	next := r.login(anna, task.ID, uploader)
	up.ExpectClosed()

	// The server ends and another one comes, with the client in the middle of a part.
	if first := next.upload(file, 2); first != 2*files.PartSize {
		t.Fatalf("the upload goes on at %d, two parts are stored", first)
	}
	next.expectPull(offlineMode)
	r.stop()
	next.ExpectClosed()
	r.Restart(nil)
	r.start()
	up = r.login(anna, task.ID, uploader)
	if first := up.upload(file, -1); first != 2*files.PartSize {
		t.Fatalf("after a restart the upload goes on at %d", first)
	}
	up.expectState(stDone, anna)

	down := r.login(bela, task.ID, downloader)
	got := down.download(uint32(len(file)), 0, 5)
	down.Close()
	down = r.login(bela, task.ID, downloader)
	got = append(got, down.download(uint32(len(file)), uint32(len(got)), -1)...)
	if !bytes.Equal(got, file) {
		t.Fatal("an interrupted download came together damaged")
	}
	down.expectState(stDone, anna)
}

func TestADownloadTakesSmallerPiecesAndIgnoresLargerOnes(t *testing.T) {
	r := newRig(t, nil)
	file := content(files.PartSize + 50_000)
	task := r.task(uint32(len(file)), false)
	up := r.login(anna, task.ID, uploader)
	up.upload(file, -1)
	up.expectState(stDone, anna)
	down := r.login(bela, task.ID, downloader)
	// Somewhere in the middle, over the edge of two parts.
	offset := uint32(files.PartSize - 1000)
	if got := down.expectData(down.pull(offlineMode, offset, 1<<30), offset); !bytes.Equal(got, file[offset:offset+files.Piece]) {
		t.Fatalf("asked for a gigabyte, got %d bytes", len(got))
	}
	offset += files.Piece
	if got := down.expectData(down.pull(offlineMode, offset, 5), offset); !bytes.Equal(got, file[offset:offset+5]) {
		t.Fatalf("asked for 5 bytes, got %d", len(got))
	}
	offset += 5
	if got := down.expectData(down.pull(offlineMode, offset, 0), offset); !bytes.Equal(got, file[offset:offset+uint32(len(got))]) {
		t.Fatal("no size given")
	}
}

func TestOfflineBreachesCloseAndLoseNothing(t *testing.T) {
	r := newRig(t, nil)
	file := content(100_000)
	up := func(name string, breach func(p *peer, offset, size uint32)) {
		t.Run(name, func(t *testing.T) {
			task := r.task(uint32(len(file)), false)
			p := r.login(anna, task.ID, uploader)
			p.t = t
			offset, size := p.expectPull(offlineMode)
			breach(p, offset, size)
			for _, q := range p.ExpectClosed() {
				t.Errorf("answered with 0x%04x", q.Command)
			}
			again := r.login(anna, task.ID, uploader)
			if first := again.upload(file, -1); first != 0 {
				t.Errorf("goes on at %d", first)
			}
			again.expectState(stDone, anna)
		})
	}
	up("too much", func(p *peer, offset, size uint32) { p.data(offset, make([]byte, size+1)) })
	up("too little", func(p *peer, offset, size uint32) { p.data(offset, make([]byte, size-1)) })
	up("nothing", func(p *peer, offset, size uint32) { p.data(offset, nil) })
	up("another place", func(p *peer, offset, size uint32) { p.data(offset+1, make([]byte, size)) })
	up("another user", func(p *peer, offset, size uint32) { p.user = bela; p.data(offset, make([]byte, size)) })
	up("another task", func(p *peer, offset, size uint32) { p.task = "y"; p.data(offset, make([]byte, size)) })
	up("a failure", func(p *peer, offset, size uint32) {
		p.Send(5, 0x0505, connectortest.Body(nil).Num(1, 1).Text(2, p.task).Num(3, p.user).Num(4, offset).Bytes(5, make([]byte, size)))
	})
	up("done said too early", func(p *peer, _, _ uint32) { p.tell(stDone) })
	up("a pull", func(p *peer, _, _ uint32) { p.pull(offlineMode, 0, 10) })

	task := r.task(uint32(len(file)), false)
	p := r.login(anna, task.ID, uploader)
	p.upload(file, -1)
	p.expectState(stDone, anna)
	down := func(name string, breach func(p *peer)) {
		t.Run(name, func(t *testing.T) {
			p := r.login(bela, task.ID, downloader)
			p.t = t
			p.download(uint32(len(file)), 0, 1)
			breach(p)
			for _, q := range p.ExpectClosed() {
				t.Errorf("answered with 0x%04x", q.Command)
			}
		})
	}
	down("a piece again", func(p *peer) { p.pull(offlineMode, 0, files.Piece) })
	down("a piece left out", func(p *peer) { p.pull(offlineMode, 2*files.Piece, files.Piece) })
	down("behind the end", func(p *peer) { p.pull(offlineMode, uint32(len(file)), files.Piece) })
	down("online", func(p *peer) { p.pull(onlineMode, files.Piece, files.Piece) })
	down("as another user", func(p *peer) { p.user = anna; p.pull(offlineMode, files.Piece, files.Piece) })
	down("of another task", func(p *peer) { p.task = "z"; p.pull(offlineMode, files.Piece, files.Piece) })
	down("data", func(p *peer) { p.data(files.Piece, []byte("x")) })
	whole := r.login(bela, task.ID, downloader)
	if got := whole.download(uint32(len(file)), 0, -1); !bytes.Equal(got, file) {
		t.Fatal("after all this the file is damaged")
	}
}

func TestLoginsNeedTaskPartyAndRole(t *testing.T) {
	r := newRig(t, nil)
	online, offline := r.task(10, true), r.task(10, false)
	for name, c := range map[string]struct {
		user uint32
		task string
		role uint32
	}{
		"stranger":                  {13, online.ID, receiver},
		"nobody":                    {0, online.ID, receiver},
		"receiver as sender":        {bela, online.ID, sender},
		"sender as receiver":        {anna, online.ID, receiver},
		"online task, offline role": {anna, online.ID, uploader},
		"offline task, online role": {anna, offline.ID, sender},
		"receiver uploads":          {bela, offline.ID, uploader},
		"sender downloads":          {anna, offline.ID, downloader},
		"not uploaded yet":          {bela, offline.ID, downloader},
		"no task":                   {anna, "00000000-0000-4000-8000-000000000000", sender},
		"no id":                     {anna, "", sender},
		"upper case":                {anna, strings.ToUpper(online.ID), sender},
		"a path":                    {bela, "../../../../../../../../../etc/passwd", downloader},
		"a subject":                 {bela, "*", downloader},
		"a subject of 36":           {bela, ">                                  >", downloader},
		"dots":                      {bela, strings.Repeat(".", 36), downloader},
		"bytes":                     {bela, "\xff\x00\xfe", downloader},
		"long":                      {bela, strings.Repeat("a", 3000), downloader},
	} {
		t.Run(name, func(t *testing.T) {
			p, code := r.try(c.user, c.task, c.role)
			if code != 1 {
				t.Fatalf("result %d", code)
			}
			p.ExpectClosed()
		})
	}
	// None of it has hurt the tasks.
	r.login(anna, online.ID, sender)
	r.login(anna, offline.ID, uploader)

	for name, send := range map[string]func(c *connectortest.Client){
		"unreadable login": func(c *connectortest.Client) { c.Send(5, 0x0501, connectortest.Body("\xff")) },
		"role out of the list": func(c *connectortest.Client) {
			c.Send(5, 0x0501, connectortest.Body(nil).Num(1, anna).Text(2, online.ID).Num(3, 9))
		},
		"data before the login": func(c *connectortest.Client) { c.Send(5, 0x0505, connectortest.Body(nil)) },
		"a large PDU before it": func(c *connectortest.Client) { c.Send(5, 0x0501, make(connectortest.Body, 5000)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := connectortest.Dial(t, r.addr)
			c.Sync()
			send(c)
			if all := c.ExpectClosed(); len(all) > 0 {
				t.Fatalf("answered with %v", all)
			}
		})
	}
}

func TestTasksAndFilesEndWithTheirTime(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	move := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	r := newRig(t, func(c *files.StoreConfig, _ *files.Limits) {
		c.TaskTime, c.Keep = time.Hour, 3*time.Hour
		c.Clock = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	file := content(10)
	late, stored, online := r.task(10, false), r.task(10, false), r.task(10, true)
	up := r.login(anna, stored.ID, uploader)
	up.upload(file, -1)
	up.expectState(stDone, anna)
	move(time.Hour - time.Second)
	r.login(anna, late.ID, uploader).Close()
	r.login(anna, online.ID, sender).Close()
	move(time.Second)
	for _, c := range []struct {
		task files.Task
		role uint32
	}{{late, uploader}, {online, sender}} {
		if _, code := r.try(anna, c.task.ID, c.role); code != 1 {
			t.Fatalf("login as %d after its time: %d", c.role, code)
		}
	}
	move(2*time.Hour - time.Second)
	r.login(bela, stored.ID, downloader).Close()
	move(time.Second)
	if _, code := r.try(bela, stored.ID, downloader); code != 1 {
		t.Fatal("a file is given after its time")
	}
}

func TestAConnectionEndsWithItsTask(t *testing.T) {
	r := newRig(t, func(c *files.StoreConfig, _ *files.Limits) { c.TaskTime = 1500 * time.Millisecond })
	p := r.login(anna, r.task(10, true).ID, sender)
	p.ExpectClosed()
}

func TestLimitsOfTasks(t *testing.T) {
	r := newRig(t, func(c *files.StoreConfig, _ *files.Limits) { c.Room, c.MaxSize, c.PerUser = 4<<20, 3<<20, 4 })
	make := func(from uint32, name string, size uint32, online bool) (files.Task, error) {
		return r.store.Create(t.Context(), from, bela, name, size, online)
	}
	for _, size := range []uint32{0, 3<<20 + 1, 1<<32 - 1} {
		if _, err := make(anna, "x", size, false); !errors.Is(err, files.ErrSize) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("n", files.MaxName+1)} {
		if _, err := make(anna, name, 1, true); !errors.Is(err, files.ErrName) {
			t.Errorf("name of %d bytes: %v", len(name), err)
		}
	}
	var tasks []files.Task
	hostile := []string{"../../etc/passwd\x00", "\xff\xfe", `{"from":1}`, strings.Repeat("n", files.MaxName)}
	for _, name := range hostile {
		task, err := make(anna, name, 3<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		found, err := r.store.Find(t.Context(), task.ID)
		if err != nil || found.Name != name || found.From != anna || found.To != bela || found.Size != 3<<20 || !found.Online {
			t.Fatalf("name %q: found %+v, %v", name, found, err)
		}
		tasks = append(tasks, task)
	}
	if _, err := make(anna, "x", 1, true); !errors.Is(err, files.ErrTooMany) {
		t.Errorf("the fifth: %v", err)
	}
	if _, err := make(13, "x", 1, true); err != nil {
		t.Errorf("another user's first: %v", err)
	}
	if err := r.store.Remove(t.Context(), tasks[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := make(anna, "x", 1, true); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

func TestAFullStoreIsToldAndLeavesNothing(t *testing.T) {
	r := newRig(t, func(c *files.StoreConfig, _ *files.Limits) { c.Room = 3 << 20 })
	file := content(2 << 20)
	one, two := r.task(2<<20, false), r.task(2<<20, false) // both while there is room
	up := r.login(anna, one.ID, uploader)
	up.upload(file, -1)
	up.expectState(stDone, anna)
	if _, err := r.store.Create(t.Context(), anna, bela, "x", 2<<20, false); !errors.Is(err, files.ErrNoRoom) {
		t.Fatalf("a task that can't be stored: %v", err)
	}
	up = r.login(anna, two.ID, uploader)
	up.upload(file, 4*files.PartSize/files.Piece) // of which the last does not fit
	up.expectState(stCancel, anna)
	up.ExpectClosed()
	if _, code := r.try(anna, two.ID, uploader); code != 1 {
		t.Fatalf("login to a task that was given up: %d", code)
	}
	down := r.login(bela, one.ID, downloader)
	if got := down.download(uint32(len(file)), 0, -1); !bytes.Equal(got, file) {
		t.Fatal("the file that was there is damaged")
	}
	if err := r.store.Remove(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "all parts are gone", func() bool {
		o, err := r.Objects(t.Context(), bus.StoreConfig{Name: "files", MaxBytes: 3 << 20, Keep: 192 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		room, err := o.Room(t.Context())
		return err == nil && room == 3<<20
	})
}

func TestWithoutDiskSpaceAnUploadBreaksOffAndGoesOnLater(t *testing.T) {
	r := newRig(t, nil)
	file := content(2 * files.PartSize)
	task := r.task(uint32(len(file)), false)
	up := r.login(anna, task.ID, uploader)
	up.upload(file, files.PartSize/files.Piece)
	up.expectPull(offlineMode) // the first part is stored
	up.Close()
	r.SetFree(func() (uint64, error) { return 1, nil })
	bustest.Eventually(t, "the disk is full", func() bool { return errors.Is(r.Healthy(), bus.ErrLowSpace) })
	up = r.login(anna, task.ID, uploader)
	if first := up.upload(file, -1); first != files.PartSize {
		t.Fatalf("goes on at %d", first)
	}
	for _, p := range up.ExpectClosed() {
		t.Fatalf("told 0x%04x, though it may go on later", p.Command)
	}
	r.SetFree(nil)
	bustest.Eventually(t, "there is room", func() bool { return r.Healthy() == nil })
	up = r.login(anna, task.ID, uploader)
	up.upload(file, -1)
	up.expectState(stDone, anna)
}

func TestACancelledUploadIsGone(t *testing.T) {
	r := newRig(t, nil)
	file := content(2 * files.PartSize)
	task := r.task(uint32(len(file)), false)
	up := r.login(anna, task.ID, uploader)
	up.upload(file, 9)
	up.expectPull(offlineMode)
	up.tell(stCancel)
	up.ExpectClosed()
	if _, code := r.try(anna, task.ID, uploader); code != 1 {
		t.Fatal("a cancelled upload goes on")
	}
}

func TestAClientThatDoesNotReadIsClosed(t *testing.T) {
	r := newRig(t, func(_ *files.StoreConfig, l *files.Limits) {
		l.Write, l.Grace = 3*time.Second, 50*time.Millisecond // enough for all that the receiver asks for
	})
	const piece = 64 << 10
	task := r.task(64<<20, true)
	from := r.login(anna, task.ID, sender)
	to := r.login(bela, task.ID, receiver)
	_ = to.Conn().(*net.TCPConn).SetReadBuffer(4 << 10)
	to.expectState(stReady, anna)
	// The receiver pulls as much as he may and reads nothing; the sender answers.
	for i := range uint32(7) {
		to.pull(onlineMode, i*piece, piece)
		from.expectPull(onlineMode)
		from.data(i*piece, make([]byte, piece))
	}
	from.expectState(stCancel, bela)
	from.ExpectClosed()
}

func TestLimitsOfConnections(t *testing.T) {
	r := newRig(t, func(_ *files.StoreConfig, l *files.Limits) {
		l.PerAddress, l.LoginWait, l.Idle = 2, 1500*time.Millisecond, 2*time.Second
	})
	task := r.task(10, true)
	login := r.login(anna, task.ID, sender)
	silent := connectortest.Dial(t, r.addr)
	silent.Sync()
	connectortest.Dial(t, r.addr).ExpectClosed() // the third of one address
	// Heartbeats keep the one that is logged in, and not the one that never logs in.
	for range 24 {
		time.Sleep(100 * time.Millisecond)
		login.Sync()
	}
	silent.ExpectClosed()
	connectortest.Dial(t, r.addr).Sync() // there is room again
	login.ExpectClosed()                 // silent for longer than it may be
	bustest.Eventually(t, "no connection is left", func() bool { return r.srv.Connections() == 0 })
}
