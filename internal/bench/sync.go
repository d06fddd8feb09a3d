package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/internal/ttclient"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	"godwit/schema/pdu"
)

// The promise of a login that finds nothing new.
const (
	// UnchangedBytes is the most that the server sends for it, login and answer together.
	UnchangedBytes = 500
	unchangedPDUs  = 2
)

// Sync is somebody with many conversations who comes back, and is told what has changed.
type Sync struct {
	Conversations int
	Changed       int // conversations that get a message between two logins
	Logins        int // of each kind
}

// SyncLogin is what one kind of login took.
type SyncLogin struct {
	Logins  int     `json:"logins"`
	Entries int     `json:"entries"` // conversations that each brought
	Bytes   int     `json:"bytes"`   // the largest: login answer and what has changed
	PDUs    int     `json:"pdus"`
	Took    Latency `json:"login_to_complete"` // from sending the login to the last byte

	took histogram
}

// SyncReport is what a Sync found.
type SyncReport struct {
	Conversations int       `json:"conversations"`
	Changed       int       `json:"changed"`
	Prepared      int       `json:"conversations_made"`
	PrepareTook   float64   `json:"prepare_seconds"`
	Token         int       `json:"token_bytes"`
	Full          SyncLogin `json:"full"`
	Some          SyncLogin `json:"changed_login"`
	None          SyncLogin `json:"unchanged"`
	Wrong         []string  `json:"wrong,omitempty"` // the first few
	WrongCount    int       `json:"wrong_count"`
}

// Err is nil where every login was told what had changed, and one that found nothing new
// took no more than was promised.
func (r *SyncReport) Err() error {
	var errs []error
	if r.WrongCount > 0 {
		errs = append(errs, fmt.Errorf("%d logins were told wrong, the first: %s", r.WrongCount, r.Wrong[0]))
	}
	if r.None.Bytes > UnchangedBytes || r.None.PDUs > unchangedPDUs {
		errs = append(errs, fmt.Errorf("an unchanged login took %d bytes in %d PDUs, promised are %d in %d, after one request",
			r.None.Bytes, r.None.PDUs, UnchangedBytes, unchangedPDUs))
	}
	return errors.Join(errs...)
}

// Write prints the report for people.
func (r *SyncReport) Write(w io.Writer) {
	line(w, "%d conversations, %d of them changed between two logins; %d made in %.1f s; token of %d bytes",
		r.Conversations, r.Changed, r.Prepared, r.PrepareTook, r.Token)
	for _, l := range []struct {
		name string
		l    *SyncLogin
	}{{"everything", &r.Full}, {"changed", &r.Some}, {"unchanged", &r.None}} {
		line(w, "%-12s %6d entries %9d bytes %3d PDUs   p50 %7.2f  p95 %8.2f  max %8.2f ms  (%d logins, one request each)",
			l.name, l.l.Entries, l.l.Bytes, l.l.PDUs, l.l.Took.P50, l.l.Took.P95, l.l.Took.Max, l.l.Logins)
	}
	line(w, "told wrong   %6d", r.WrongCount)
	for _, why := range r.Wrong {
		line(w, "  %s", why)
	}
}

const (
	syncPipeline = 64 // messages under way at once while conversations are made
	syncTimeout  = 60 * time.Second
	maxWrong     = 5
)

// Run makes the conversations that are missing and logs in again and again.
func (c Sync) Run(ctx context.Context, o Options) (*SyncReport, error) {
	o.complete()
	accounts, err := o.Accounts(ctx, c.Conversations+1)
	if err != nil {
		return nil, err
	}
	b := &syncBench{c: c, o: o, me: accounts[0], r: SyncReport{Conversations: c.Conversations, Changed: c.Changed}}
	start := time.Now()
	if err := b.prepare(ctx, accounts[1:]); err != nil {
		return nil, err
	}
	b.r.PrepareTook = time.Since(start).Seconds()
	o.Log.Info("logging in", "logins", 3*c.Logins)
	if err := b.measure(ctx, accounts[1:]); err != nil {
		return nil, err
	}
	for _, l := range []*SyncLogin{&b.r.Full, &b.r.Some, &b.r.None} {
		l.Took = l.took.latency()
	}
	return &b.r, nil
}

type syncBench struct {
	c      Sync
	o      Options
	me     Account
	peers  map[uint32]uint32 // number -> newest id there
	writes []*ttclient.Client
	resume []byte
	r      SyncReport
}

func (b *syncBench) client(ctx context.Context, a Account, device imbase.ClientType) (*ttclient.Client, error) {
	return ttclient.Login(ctx, ttclient.Options{
		Addr: b.o.Server, Name: a.Name, Password: a.Password, Device: device, Version: "godwit-bench", Timeout: syncTimeout,
		Features: uint32(imextension.Feature_FEATURE_NOTICES),
	})
}

// prepare writes to everybody with whom there is no conversation yet. Both devices of the
// one person write, as one session may send so many messages a second and no more.
func (b *syncBench) prepare(ctx context.Context, others []Account) error {
	var mine []*ttclient.Client
	defer func() {
		for _, c := range mine {
			c.Close()
		}
	}()
	for _, device := range []imbase.ClientType{imbase.ClientType_CLIENT_TYPE_WINDOWS, imbase.ClientType_CLIENT_TYPE_ANDROID} {
		c, err := b.client(ctx, b.me, device)
		if err != nil {
			return fmt.Errorf("log in as %s: %w", b.me.Name, err)
		}
		mine = append(mine, c)
	}
	numbers, err := numbersOf(ctx, mine[0], others)
	if err != nil {
		return err
	}
	there, err := mine[0].Sync(ctx, nil)
	if err != nil {
		return err
	}
	b.peers = make(map[uint32]uint32, len(numbers))
	for _, e := range there.Entries {
		if e.GetSessionType() == imbase.SessionType_SESSION_TYPE_SINGLE {
			b.peers[e.GetSessionId()] = e.GetLatestMsgId()
		}
	}
	var missing []uint32
	for _, n := range numbers {
		if b.peers[n] == 0 {
			missing = append(missing, n)
		}
	}
	b.r.Prepared = len(missing)
	if len(missing) > 0 {
		b.o.Log.Info("making conversations", "missing", len(missing))
	}
	return b.writeAll(ctx, mine, missing)
}

func (b *syncBench) writeAll(ctx context.Context, mine []*ttclient.Client, to []uint32) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan uint32)
	var mu sync.Mutex
	var writers sync.WaitGroup
	for _, c := range mine {
		for range syncPipeline {
			writers.Go(func() {
				for peer := range work {
					id, err := c.SendMessage(ctx, ttclient.Conversation{ID: peer}, ttclient.Message{Data: hello, ID: ttclient.NewMessageID()})
					if err != nil {
						cancel(fmt.Errorf("write to %d: %w", peer, err))
						return
					}
					mu.Lock()
					b.peers[peer] = id
					mu.Unlock()
				}
			})
		}
	}
feed:
	for _, peer := range to {
		select {
		case work <- peer:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	writers.Wait()
	return context.Cause(ctx)
}

var hello = content.EncryptText("hello, is anybody there?")

// numbersOf finds the accounts in the directory.
func numbersOf(ctx context.Context, c *ttclient.Client, accounts []Account) ([]uint32, error) {
	users, _, err := c.Users(ctx, 0)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]uint32, len(users))
	for _, u := range users {
		byName[u.GetUserRealName()] = u.GetUserId()
	}
	numbers := make([]uint32, len(accounts))
	for i, a := range accounts {
		if numbers[i] = byName[strings.ToLower(a.Name)]; numbers[i] == 0 {
			return nil, fmt.Errorf("%s is not in the directory; with --contacts friends this bench can't run", a.Name)
		}
	}
	return numbers, nil
}

// measure logs in three times in a row, round after round: for everything, after some
// conversations have changed, and when nothing has.
func (b *syncBench) measure(ctx context.Context, others []Account) error {
	defer func() {
		for _, c := range b.writes {
			c.Close()
		}
	}()
	for _, a := range others[:b.c.Changed] {
		c, err := b.client(ctx, a, imbase.ClientType_CLIENT_TYPE_WINDOWS)
		if err != nil {
			return fmt.Errorf("log in as %s: %w", a.Name, err)
		}
		b.writes = append(b.writes, c)
	}
	for range b.c.Logins {
		token, got, err := b.login(ctx, []byte{}, &b.r.Full)
		if err != nil {
			return err
		}
		b.check("everything", got, b.peers, len(b.peers))
		changed := make(map[uint32]uint32)
		for _, c := range b.writes {
			id, err := c.SendMessage(ctx, ttclient.Conversation{ID: got.me}, ttclient.Message{Data: hello, ID: ttclient.NewMessageID()})
			if err != nil {
				return err
			}
			changed[c.ID()], b.peers[c.ID()] = id, id
		}
		if token, got, err = b.login(ctx, token, &b.r.Some); err != nil {
			return err
		}
		b.check("changed", got, changed, len(changed))
		if _, got, err = b.login(ctx, token, &b.r.None); err != nil {
			return err
		}
		b.check("unchanged", got, nil, 0)
		b.r.Token = max(b.r.Token, len(token))
	}
	return nil
}

// told is what a login brought.
type told struct {
	me    uint32
	heads map[uint32]uint32 // of conversations of two
	whole bool
}

// check holds what came against what had to.
func (b *syncBench) check(kind string, got told, want map[uint32]uint32, most int) {
	wrong := ""
	for peer, head := range want {
		if got.heads[peer] != head {
			wrong = fmt.Sprintf("%s: conversation with %d at %d, is at %d", kind, peer, got.heads[peer], head)
			break
		}
	}
	switch {
	case wrong != "":
	case len(got.heads) > most:
		wrong = fmt.Sprintf("%s: %d conversations, %d have changed", kind, len(got.heads), most)
	case got.whole != (kind == "everything"):
		wrong = fmt.Sprintf("%s: whole is %t", kind, got.whole)
	}
	if wrong == "" {
		return
	}
	if b.r.WrongCount++; len(b.r.Wrong) < maxWrong {
		b.r.Wrong = append(b.r.Wrong, wrong)
	}
}

// login is one login with a token, over a connection of its own, on which nothing else is
// asked. It counts what the server sends for it.
func (b *syncBench) login(ctx context.Context, token []byte, l *SyncLogin) (next []byte, got told, err error) {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", b.o.Server)
	if err != nil {
		return nil, got, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, got, err
	}
	device := imbase.ClientType(b.o.Device)
	req := &imlogin.IMLoginReq{
		UserName: &b.me.Name, Password: &b.me.Password, OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE.Enum(),
		ClientType: &device, ClientVersion: new("godwit-bench"), SyncToken: token,
		Features: new(uint32(imextension.Feature_FEATURE_NOTICES | imextension.Feature_FEATURE_RESUME)), ResumeToken: b.resume,
	}
	out, err := pdu.AppendMessage(nil, client.CmdLoginReq, 1, req)
	if err != nil {
		return nil, got, err
	}
	began := time.Now()
	if _, err := conn.Write(out); err != nil {
		return nil, got, err
	}
	got.heads = make(map[uint32]uint32)
	entries, bytes, pdus := 0, 0, 0
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		f, n, err := pdu.Next(buf, pdu.MaxAfterLogin)
		if err != nil {
			return nil, got, err
		}
		if n == 0 {
			k, err := conn.Read(chunk)
			if err != nil {
				return nil, got, fmt.Errorf("login of %s: %w", b.me.Name, err)
			}
			buf = append(buf, chunk[:k]...)
			continue
		}
		m, err := client.Decode(f.Command, f.Body)
		if err != nil {
			return nil, got, err
		}
		if f.Seq == 1 { // the rest is pushed
			bytes += n
			pdus++
			last, err := b.take(m, &got, &next)
			if err != nil {
				return nil, got, err
			}
			if r, ok := m.(*imextension.SyncRsp); ok {
				entries += len(r.GetEntries())
			}
			if last {
				break
			}
		}
		buf = buf[n:]
	}
	l.took.add(time.Since(began))
	l.Logins++
	l.Entries, l.Bytes, l.PDUs = max(l.Entries, entries), max(l.Bytes, bytes), max(l.PDUs, pdus)
	return next, got, nil
}

// take reads one PDU of an answer.
func (b *syncBench) take(m proto.Message, got *told, next *[]byte) (last bool, err error) {
	switch m := m.(type) {
	case *imlogin.IMLoginRes:
		if m.GetResultCode() != imbase.ResultType_REFUSE_REASON_NONE {
			return false, fmt.Errorf("login of %s refused: %s %s", b.me.Name, m.GetResultCode(), m.GetResultString())
		}
		got.me = m.GetUserInfo().GetUserId()
		b.resume = m.GetResumeToken()
		return false, nil
	case *imextension.SyncRsp:
		*next = m.GetSyncToken()
		got.whole = got.whole || m.GetWhole()
		for _, e := range m.GetEntries() {
			if e.GetSessionType() == imbase.SessionType_SESSION_TYPE_SINGLE {
				got.heads[e.GetSessionId()] = e.GetLatestMsgId()
			}
		}
		return !m.GetMore(), nil
	}
	return false, fmt.Errorf("the login was answered with %s", m.ProtoReflect().Descriptor().FullName())
}
