package e2e

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/connector/connectortest"
	"godwit/internal/e2e/e2etest"
	"godwit/internal/ttclient"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
)

// company is people with their devices who do all that clients can do to conversations, at
// once and by chance, and note what they are told. What was right is found out from the
// log, afterwards. Everything in it is under mu, its devices and visits included.
type company struct {
	t       *testing.T
	mu      sync.Mutex
	rnd     *rand.Rand
	users   []uint32
	devices []*device
	groups  []uint32
	visits  map[string]*visit
	bodies  int

	acked   map[string]spot // body -> where it was acked to be
	refused map[string]bool // bodies that were refused at their first try
	did     map[string]int
	repeats int // sends that went out again, with the same client id
	late    int // of these acked with an id that was given at their first try
	faults  []string

	// where tells how far the log is, stream by stream; nil where that cannot be seen.
	where func() map[event.Stream]uint64
	stop  chan struct{} // closed to end what devices do by chance
}

// device is a client that keeps what it has seen over its visits.
type device struct {
	c      *company
	user   uint32
	name   string
	client int
	at     string
	may    func(what string) bool

	token   []byte
	resume  []byte
	known   map[event.ConversationKey]*keeping
	pending []*outgoing
	visit   *visit
	in      map[uint32]bool // groups
}

// keeping is what a device has of a conversation.
type keeping struct {
	head   uint32 // as of the last sync
	whole  uint32 // nothing that it may read is missing up to here
	has    map[uint32]seen
	stale  map[uint32]bool // said to have changed, and not asked for yet
	member bool            // as of the last sync
}

type seen struct {
	body     string
	recalled bool
}

// outgoing is a message on its way.
type outgoing struct {
	key   event.ConversationKey
	to    uint32
	body  string
	id    []byte
	tries int
}

// visit is one login and what came of it.
type visit struct {
	d    *device
	tag  string
	conn *e2etest.Conn
	done chan struct{}
	err  error

	seq     uint16
	waiting map[uint16]func(client proto.Message) (last bool)
	sending map[uint16]*outgoing

	before, after map[event.Stream]uint64 // the log when it began, and when it was synced
	synced        bool
	heads         map[event.ConversationKey]uint32 // as of the sync, of what it was of
	early         map[event.ConversationKey][]push // pushed before it
	pushed        map[event.ConversationKey][]push // and after
	caught        map[event.ConversationKey]bool   // what came before this visit has been fetched
	notices       map[uint32][]string              // 0x040b, by group
	kicked        imbase.KickReasonType
	left          bool // by itself
	full          bool // it saw the end
}

type push struct {
	id   uint32
	seen seen
}

func newCompany(t *testing.T, seed uint64) *company {
	return &company{t: t, rnd: rand.New(rand.NewPCG(seed, 2)), visits: map[string]*visit{}, acked: map[string]spot{},
		refused: map[string]bool{}, did: map[string]int{}, stop: make(chan struct{})}
}

// add gives a person a device that connects to an address.
func (c *company) add(user uint32, name string, kind int, at string) {
	if !slices.Contains(c.users, user) {
		c.users = append(c.users, user)
	}
	c.devices = append(c.devices, &device{c: c, user: user, name: name, client: kind, at: at,
		token: []byte{}, known: map[event.ConversationKey]*keeping{}, in: map[uint32]bool{}})
}

func (c *company) fault(format string, args ...any) {
	if len(c.faults) < 20 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

// check fails the test with what has been noted.
func (c *company) check() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) > 0 {
		c.t.Fatal("promises broken:\n", strings.Join(c.faults, "\n"))
	}
}

// heardOf notes a group. Its maker may never hear that it was made. mu is held.
func (c *company) heardOf(group uint32) {
	if !slices.Contains(c.groups, group) {
		c.groups = append(c.groups, group)
	}
}

// chance is true once in n times.
func (c *company) chance(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rnd.IntN(n) == 0
}

func (d *device) keeping(k event.ConversationKey) *keeping {
	if d.known[k] == nil {
		d.known[k] = &keeping{has: map[uint32]seen{}, stale: map[uint32]bool{}}
	}
	return d.known[k]
}

// over tells whether the visit has ended.
func (v *visit) over() bool {
	select {
	case <-v.done:
		return true
	default:
		return false
	}
}

func (c *company) here() map[event.Stream]uint64 {
	if c.where == nil {
		return nil
	}
	return c.where()
}

// connect begins a visit: it logs in with all that the device kept, fetches what it
// missed, and sends again what has no ack.
func (d *device) connect() error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	limit := time.After(e2etest.Patience)
	for {
		err := d.login()
		if err == nil || !errors.Is(err, e2etest.ErrUnavailable) {
			return err
		}
		select {
		case <-again.C:
		case <-limit:
			return err
		}
	}
}

func (d *device) login() error {
	c := d.c
	before := c.here()
	conn, err := e2etest.Dial(d.at)
	if err != nil {
		return err
	}
	conn.Newer = true
	c.mu.Lock()
	v := &visit{d: d, conn: conn, done: make(chan struct{}), seq: 1, before: before,
		waiting: map[uint16]func(proto.Message) bool{}, sending: map[uint16]*outgoing{},
		heads: map[event.ConversationKey]uint32{}, early: map[event.ConversationKey][]push{}, pushed: map[event.ConversationKey][]push{},
		caught: map[event.ConversationKey]bool{}, notices: map[uint32][]string{}}
	v.tag = fmt.Sprintf("visit %d", len(c.visits))
	c.visits[v.tag] = v
	req := &imlogin.IMLoginReq{UserName: &d.name, Password: new(connectortest.MD5(d.name)),
		OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: new(imbase.ClientType(d.client)), ClientVersion: &v.tag,
		Features: new(uint32(imextension.Feature_FEATURE_NOTICES | imextension.Feature_FEATURE_RECEIPTS | imextension.Feature_FEATURE_RESUME)), SyncToken: d.token}
	if len(d.resume) > 0 && c.rnd.IntN(2) == 0 {
		req.ResumeToken, req.Password, req.UserName = d.resume, new(""), new("")
		c.did["login by a resume token"]++
	}
	whole := len(d.token) == 0
	for k, h := range d.known {
		if h.member {
			v.heads[k] = h.head
		}
	}
	c.mu.Unlock()
	b, err := client.Append(nil, req)
	if err != nil {
		return err
	}
	if err := conn.Send(client.CmdLoginReq, 1, b); err != nil {
		return errors.Join(err, conn.Close())
	}
	_ = conn.SetReadDeadline(time.Now().Add(e2etest.Patience))
	p, err := conn.Next()
	if err != nil {
		return errors.Join(fmt.Errorf("login of %s: %w", d.name, err), conn.Close())
	}
	m, err := client.Decode(p.Command, p.Raw)
	a, ok := m.(*imlogin.IMLoginRes)
	switch {
	case err != nil || !ok:
		return errors.Join(fmt.Errorf("login of %s is answered by %#04x: %w", d.name, p.Command, err), conn.Close())
	case a.GetResultCode() == imbase.ResultType_REFUSE_REASON_NO_MSG_SERVER, a.GetResultCode() == 3:
		return errors.Join(e2etest.ErrUnavailable, conn.Close())
	case a.GetResultCode() != 0 || a.GetUserInfo().GetUserId() != d.user:
		return errors.Join(fmt.Errorf("%w: %s: %v", e2etest.ErrRefused, d.name, a), conn.Close())
	}
	_ = conn.SetReadDeadline(time.Time{})
	through := make(chan struct{})
	c.mu.Lock()
	if d.resume = a.GetResumeToken(); len(d.resume) == 0 {
		c.fault("%s: a login without a resume token", d.name)
	}
	d.visit = v
	v.waiting[1] = func(m proto.Message) bool {
		r, ok := m.(*imextension.SyncRsp)
		if !ok {
			c.fault("%s: a sync is answered with %T", d.name, m)
			return true
		}
		v.sync(r, whole)
		if !r.GetMore() {
			v.synced = true
			v.firstPushes()
			close(through)
		}
		return !r.GetMore()
	}
	c.mu.Unlock()
	go v.read()
	select {
	case <-through:
	case <-v.done:
		return nil // gone before it was in; its next visit may fare better
	case <-time.After(e2etest.Patience):
		return fmt.Errorf("%s: no answer to a sync in %v", d.name, e2etest.Patience)
	}
	after := c.here()
	c.mu.Lock()
	v.after = after
	c.mu.Unlock()
	v.catchUp()
	v.resend()
	return nil
}

// sync takes what has changed since the last visit.
func (v *visit) sync(r *imextension.SyncRsp, first bool) {
	d := v.d
	d.token = r.GetSyncToken()
	if r.GetWhole() {
		if !first {
			d.c.did["sync from the beginning, asked for the rest"]++
		}
		clear(d.known)
		clear(v.heads)
	}
	for _, e := range r.GetEntries() {
		k := event.Direct(d.user, e.GetSessionId())
		if e.GetSessionType() == group {
			k = event.Group(e.GetSessionId())
		}
		h := d.keeping(k)
		h.member = !e.GetLeft()
		if !k.IsDirect() {
			d.in[k.GroupID()] = h.member
			d.c.heardOf(k.GroupID())
		}
		if !h.member {
			delete(v.heads, k)
			continue
		}
		h.head, v.heads[k] = e.GetLatestMsgId(), e.GetLatestMsgId()
		for _, id := range e.GetChanged() {
			h.stale[id] = true
		}
	}
}

const (
	single = imbase.SessionType_SESSION_TYPE_SINGLE
	group  = imbase.SessionType_SESSION_TYPE_GROUP
)

// firstPushes holds what was pushed before the sync against it: all of that is in it, but
// for groups that the user has left by then.
func (v *visit) firstPushes() {
	for k, list := range v.pushed {
		for _, p := range list {
			if h, ok := v.heads[k]; ok && p.id > h {
				v.d.c.fault("%s: %d of %s was pushed before a sync that ends at %d", v.tag, p.id, nameOf(k), h)
			}
		}
		v.early[k] = list
		delete(v.pushed, k)
	}
}

// read is the visit's reading goroutine.
func (v *visit) read() {
	c := v.d.c
	defer close(v.done)
	defer v.conn.Close()
	for {
		p, err := v.conn.Next()
		var m proto.Message
		if err == nil {
			m, err = client.Decode(p.Command, p.Raw)
		}
		c.mu.Lock()
		if err != nil {
			v.err = err
			if !isNetwork(err) {
				c.fault("%s of %s: %v", v.tag, v.d.name, err)
			}
			c.mu.Unlock()
			return
		}
		if answer := v.waiting[p.Seq]; answer != nil {
			if answer(m) {
				delete(v.waiting, p.Seq)
			}
		} else {
			v.hear(p.Seq, m)
		}
		c.mu.Unlock()
	}
}

// isNetwork tells the end of a connection from bytes that are wrong.
func isNetwork(err error) bool {
	s := err.Error()
	return strings.Contains(s, "EOF") || strings.Contains(s, "reset") || strings.Contains(s, "closed") ||
		strings.Contains(s, "connection refused") || strings.Contains(s, "broken pipe")
}

// hear takes what is no answer to a question. mu is held.
func (v *visit) hear(seq uint16, m proto.Message) {
	c, d := v.d.c, v.d
	switch m := m.(type) {
	case *immessage.IMMsgDataAck:
		out := v.sending[seq]
		delete(v.sending, seq)
		if out == nil {
			c.fault("%s: an ack with seq %d, which is nothing's", v.tag, seq)
			return
		}
		d.acked(out, m.GetMsgId())
	case *imextension.SendRefused:
		out := v.sending[seq]
		delete(v.sending, seq)
		if out == nil {
			c.fault("%s: a refusal with seq %d, which is nothing's", v.tag, seq)
			return
		}
		if m.GetRefusal() == imextension.Refusal_REFUSAL_UNKNOWN {
			return // it is sent again at the next visit
		}
		if out.tries == 1 {
			c.refused[out.body] = true
		}
		c.did["send refused"]++
		d.pending = slices.DeleteFunc(d.pending, func(o *outgoing) bool { return o == out })
	case *immessage.IMMsgData:
		v.message(m)
	case *imextension.MessageChangedNotify:
		k := event.Direct(d.user, m.GetSessionId())
		if m.GetSessionType() == group {
			k = event.Group(m.GetSessionId())
		}
		c.did["change of a message heard"]++
		h, x := d.keeping(k), m.GetMessage()
		if len(x.GetMsgData()) == 0 && !x.GetRecalled() && m.GetSessionType() == group {
			h.stale[x.GetMsgId()] = true // who may read it asks for it
		} else {
			h.has[x.GetMsgId()] = seenOf(x)
		}
	case *imgroup.IMGroupChangeMemberNotify:
		c.heardOf(m.GetGroupId())
		d.in[m.GetGroupId()] = slices.Contains(m.GetCurUserIdList(), d.user)
		v.notices[m.GetGroupId()] = append(v.notices[m.GetGroupId()],
			noticeText(m.GetChangeType() == imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD, m.GetUserId(), m.GetChgUserIdList(), m.GetCurUserIdList()))
		c.did["0x040b heard"]++
	case *imlogin.IMKickUser:
		v.kicked = m.GetKickReason()
		c.did["kicked"]++
	default:
		if seq != 0 {
			c.fault("%s: %T with seq %d, which is nothing's", v.tag, m, seq)
		}
	}
}

func noticeText(add bool, by uint32, changed, now []uint32) string {
	what := "removes"
	if add {
		what = "adds"
	}
	return fmt.Sprintf("%d %s %s: %s", by, what, numbers(ascending(changed)), numbers(ascending(now)))
}

func seenOf(m *imbase.MsgInfo) seen { return seen{string(m.GetMsgData()), m.GetRecalled()} }

// acked notes the id of a message.
func (d *device) acked(out *outgoing, id uint32) {
	c := d.c
	d.pending = slices.DeleteFunc(d.pending, func(o *outgoing) bool { return o == out })
	at := spot{out.key, id}
	if before, ok := c.acked[out.body]; ok && before != at {
		c.fault("%q was acked as %d of %s and then as %d of %s", out.body, before.id, nameOf(before.key), id, nameOf(out.key))
	}
	c.acked[out.body] = at
	if h := d.keeping(out.key).has; h[id].body == "" {
		h[id] = seen{body: out.body}
	} else if out.tries > 1 {
		c.late++
	}
	c.did["sent"]++
}

// message takes a push.
func (v *visit) message(m *immessage.IMMsgData) {
	d := v.d
	k := event.Direct(m.GetFromUserId(), m.GetToSessionId())
	if m.GetMsgType() >= imbase.MsgType_MSG_TYPE_GROUP_TEXT {
		k = event.Group(m.GetToSessionId())
	}
	if k.IsDirect() && k.Peer(d.user) == 0 {
		d.c.fault("%s of %d: a push from %d to %d", v.tag, d.user, m.GetFromUserId(), m.GetToSessionId())
		return
	}
	id, s := m.GetMsgId(), seen{string(m.GetMsgData()), m.GetRecalled()}
	if list := v.pushed[k]; len(list) > 0 && list[len(list)-1].id >= id {
		d.c.fault("%s: push of %d of %s after %d", v.tag, id, nameOf(k), list[len(list)-1].id)
	}
	v.pushed[k] = append(v.pushed[k], push{id, s})
	h := d.keeping(k)
	h.has[id] = s
	if v.caught[k] || v.synced && v.heads[k] == 0 {
		v.caught[k] = true
		h.whole = id
	}
	d.c.did["pushed"]++
}

// write sends a request that is answered, if at all, by answer, on the reading goroutine
// and with mu held.
func (v *visit) write(command uint16, m proto.Message, answer func(proto.Message) bool) error {
	v.d.c.mu.Lock()
	defer v.d.c.mu.Unlock()
	v.next()
	if answer != nil {
		v.waiting[v.seq] = answer
	}
	return v.put(command, m)
}

func (v *visit) next() {
	for v.seq++; v.seq == 0 || v.waiting[v.seq] != nil || v.sending[v.seq] != nil; v.seq++ {
	}
}

// put writes with the present seq. mu is held, so PDUs do not mix.
func (v *visit) put(command uint16, m proto.Message) error {
	b, err := client.Append(nil, m)
	if err != nil {
		return err
	}
	return v.conn.Send(command, v.seq, b)
}

// ask waits for the last answer to a request. It is false when the visit has ended before.
func (v *visit) ask(command uint16, m proto.Message, take func(proto.Message) (last bool)) bool {
	through := make(chan struct{})
	err := v.write(command, m, func(m proto.Message) bool {
		last := take(m)
		if last {
			close(through)
		}
		return last
	})
	if err != nil {
		return false
	}
	select {
	case <-through:
		return true
	case <-v.done:
		return false
	case <-time.After(e2etest.Patience):
		v.d.c.mu.Lock()
		defer v.d.c.mu.Unlock()
		v.d.c.fault("%s of %s: no answer to %s in %v", v.tag, v.d.name, client.Name(command), e2etest.Patience)
		return false
	}
}

// one asks for an answer of a known kind.
func one[M proto.Message](v *visit, command uint16, m proto.Message, take func(M)) bool {
	return v.ask(command, m, func(a proto.Message) bool {
		if x, ok := a.(M); ok {
			take(x)
		} else {
			v.d.c.fault("%s: %s is answered by %T", v.tag, client.Name(command), a)
		}
		return true
	})
}

// sessionOf is how a user's PDUs name a conversation.
func sessionOf(k event.ConversationKey, user uint32) (id *uint32, kind *imbase.SessionType) {
	if k.IsDirect() {
		return new(k.Peer(user)), single.Enum()
	}
	return new(k.GroupID()), group.Enum()
}

// page asks for a part of a history.
func (v *visit) page(k event.ConversationKey, begin uint32, take func([]*imbase.MsgInfo)) bool {
	id, kind := sessionOf(k, v.d.user)
	return one(v, client.CmdGetMsgListReq, &immessage.IMGetMsgListReq{
		UserId: &v.d.user, SessionType: kind, SessionId: id, MsgIdBegin: &begin, MsgCnt: new(uint32(e2etest.Page)),
	}, func(a *immessage.IMGetMsgListRsp) { take(a.GetMsgList()) })
}

// catchUp fetches what the sync says that this device lacks.
func (v *visit) catchUp() {
	c, d := v.d.c, v.d
	c.mu.Lock()
	heads := maps.Clone(v.heads)
	for k, h := range d.known {
		if len(h.stale) > 0 && heads[k] == 0 {
			heads[k] = 0
		}
	}
	c.mu.Unlock()
	for _, k := range slices.SortedFunc(maps.Keys(heads), func(a, b event.ConversationKey) int { return strings.Compare(string(a[:]), string(b[:])) }) {
		c.mu.Lock()
		h := d.keeping(k)
		whole := h.whole
		stale := slices.Sorted(maps.Keys(h.stale))
		c.mu.Unlock()
		for begin, more := heads[k], heads[k] > whole; more; {
			ok := v.page(k, begin, func(list []*imbase.MsgInfo) {
				more = len(list) == e2etest.Page
				for _, m := range list {
					h.has[m.GetMsgId()] = seenOf(m)
					begin = m.GetMsgId() - 1
				}
				more = more && begin > whole
			})
			if !ok {
				return
			}
		}
		for ids := range slices.Chunk(stale, 100) {
			id, kind := sessionOf(k, d.user)
			ok := one(v, client.CmdGetMsgByIdReq, &immessage.IMGetMsgByIdReq{UserId: &d.user, SessionType: kind, SessionId: id, MsgIdList: ids},
				func(a *immessage.IMGetMsgByIdRsp) {
					for _, m := range a.GetMsgList() {
						h.has[m.GetMsgId()] = seenOf(m)
					}
					for _, id := range ids {
						delete(h.stale, id)
					}
				})
			if !ok {
				return
			}
		}
		c.mu.Lock()
		if _, ok := v.heads[k]; !ok {
			c.mu.Unlock()
			continue
		}
		h.whole = max(h.whole, heads[k])
		if list := v.pushed[k]; len(list) > 0 {
			h.whole = max(h.whole, list[len(list)-1].id)
		}
		v.caught[k] = true
		c.mu.Unlock()
	}
}

// resend sends again what has no ack, under the client's own ids.
func (v *visit) resend() {
	c, d := v.d.c, v.d
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, out := range d.pending {
		c.repeats++
		v.transmit(out)
	}
}

// transmit sends a message. mu is held. Whoever lost the connection sends it again.
func (v *visit) transmit(out *outgoing) {
	v.next()
	v.sending[v.seq] = out
	out.tries++
	kind := imbase.MsgType_MSG_TYPE_SINGLE_TEXT
	if !out.key.IsDirect() {
		kind = imbase.MsgType_MSG_TYPE_GROUP_TEXT
	}
	_ = v.put(client.CmdMsgData, &immessage.IMMsgData{FromUserId: &v.d.user, ToSessionId: &out.to, MsgId: new(uint32(0)),
		CreateTime: new(uint32(0)), MsgType: &kind, MsgData: []byte(out.body), ClientMessageId: out.id})
}

// say sends something new.
func (v *visit) say(k event.ConversationKey) {
	c, d := v.d.c, v.d
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(d.pending) >= 16 {
		return
	}
	c.bodies++
	to, _ := sessionOf(k, d.user)
	out := &outgoing{key: k, to: *to, id: ttclient.NewMessageID(),
		body: fmt.Sprintf("%s to %s #%d %s", d.name, nameOf(k), c.bodies, strings.Repeat("x", c.rnd.IntN(100)))}
	d.pending = append(d.pending, out)
	v.transmit(out)
}

// leave ends the visit from the client's side.
func (v *visit) leave() {
	v.d.c.mu.Lock()
	v.left = true
	v.d.c.mu.Unlock()
	_ = v.conn.Close()
	<-v.done
}

// inFlight is how many sends wait for their ack.
func (c *company) inFlight() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.devices {
		n += len(d.pending)
	}
	return n
}

// each runs f for all devices at once.
func (c *company) each(f func(d *device) error) {
	c.t.Helper()
	err := c.all(f)
	c.check()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *company) all(f func(d *device) error) error {
	errs := make([]error, len(c.devices))
	var all sync.WaitGroup
	for i, d := range c.devices {
		all.Go(func() { errs[i] = f(d) })
	}
	all.Wait()
	return errors.Join(errs...)
}
