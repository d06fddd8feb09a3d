package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imlogin "godwit/schema/client/login"
	"godwit/schema/pdu"
)

// hostileKind is one way of misbehaving.
type hostileKind struct {
	about   string
	count   int  // connections by default
	account bool // it logs in: one account serves all its connections, one after the other
	run     func(h *hostile, ctx context.Context, conn net.Conn) error
}

var hostileKinds = map[string]hostileKind{
	"never-reads":        {"logs in, asks for everything, reads nothing", 1, true, (*hostile).neverReads},
	"garbage":            {"sends random bytes under true and false lengths", 16, false, (*hostile).garbage},
	"flood":              {"logs in and sends as fast as the socket takes", 1, true, (*hostile).flood},
	"slowloris":          {"sends a login byte by byte, one a second", 500, false, (*hostile).slowloris},
	"silent-connections": {"connects and says nothing", 5000, false, (*hostile).silent},
	"lying-length":       {"announces PDUs of up to 4 GiB and sends a little of them", 64, false, (*hostile).lyingLength},
}

// HostileKinds lists the kinds of misbehaving clients with what they do.
func HostileKinds() []string {
	var all []string
	for name, k := range hostileKinds {
		all = append(all, name+": "+k.about)
	}
	slices.Sort(all)
	return all
}

// CheckHostile refuses a kind that there is not; its text is what would be accepted.
func CheckHostile(kind string) error {
	if _, ok := hostileKinds[kind]; ok || kind == "" {
		return nil
	}
	return fmt.Errorf("give %s", strings.Join(slices.Sorted(maps.Keys(hostileKinds)), ", "))
}

// HostileReport is what misbehaving clients got done.
type HostileReport struct {
	Kind        string `json:"kind"`
	Clients     int    `json:"clients"`
	Connections uint64 `json:"connections"` // opened in all
	Ended       uint64 `json:"ended"`       // of these, ended by the server or the network
	Bytes       uint64 `json:"bytes_sent"`
	Refused     uint64 `json:"connects_failed"`
}

func (r *HostileReport) String() string {
	return fmt.Sprintf("%s: %d clients, %d connections of which the server ended %d, %d connects failed, %.1f MiB sent",
		r.Kind, r.Clients, r.Connections, r.Ended, r.Refused, float64(r.Bytes)/(1<<20))
}

// hostileAccounts is how many people a kind needs.
func hostileAccounts(kind string) int {
	if hostileKinds[kind].account {
		return 2
	}
	return 0
}

type hostile struct {
	o        Options
	accounts []Account

	connections, ended, bytes, refused atomic.Uint64
}

// startHostile runs misbehaving clients until stop, which returns when all have ended.
func startHostile(ctx context.Context, kind string, count int, o Options, accounts []Account) (stop func() *HostileReport, err error) {
	if kind == "" {
		return func() *HostileReport { return nil }, nil
	}
	if err := CheckHostile(kind); err != nil {
		return nil, fmt.Errorf("hostile clients %q: %w", kind, err)
	}
	k := hostileKinds[kind]
	if count <= 0 {
		count = k.count
	}
	if k.account {
		count = 1
	}
	h := &hostile{o: o, accounts: accounts}
	ctx, cancel := context.WithCancel(ctx)
	var clients sync.WaitGroup
	for range count {
		clients.Go(func() { h.client(ctx, k) })
	}
	return func() *HostileReport {
		cancel()
		clients.Wait()
		return &HostileReport{
			Kind: kind, Clients: count, Connections: h.connections.Load(), Ended: h.ended.Load(),
			Bytes: h.bytes.Load(), Refused: h.refused.Load(),
		}
	}, nil
}

// client connects, misbehaves, and comes back when it is thrown out.
func (h *hostile) client(ctx context.Context, k hostileKind) {
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", h.o.Server)
		if err != nil {
			h.refused.Add(1)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		h.connections.Add(1)
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		err = k.run(h, ctx, counted{conn, &h.bytes})
		if ctx.Err() == nil && err != nil {
			h.ended.Add(1)
		}
		stop()
		_ = conn.Close() // it may be closed already
		pause(ctx, 50*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// counted counts what is written.
type counted struct {
	net.Conn
	n *atomic.Uint64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(uint64(n))
	return n, err
}

// logIn logs in as the first of the accounts.
func (h *hostile) logIn(conn net.Conn) error {
	b, err := h.loginPDU()
	if err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(loginLimit))
	for {
		f, err := readPDU(conn)
		if err != nil {
			return err
		}
		if f.Command == client.CmdLoginRes {
			return conn.SetReadDeadline(time.Time{})
		}
	}
}

func (h *hostile) loginPDU() ([]byte, error) {
	a := Account{Name: "nobody", Password: strings.Repeat("0", 32)}
	if len(h.accounts) > 0 {
		a = h.accounts[0]
	}
	return pdu.AppendMessage(nil, client.CmdLoginReq, 1, &imlogin.IMLoginReq{
		UserName: &a.Name, Password: &a.Password,
		OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: imbase.ClientType(h.o.Device).Enum(),
	})
}

func readPDU(r io.Reader) (pdu.Frame, error) {
	head := make([]byte, pdu.HeaderLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return pdu.Frame{}, err
	}
	length := binary.BigEndian.Uint32(head)
	if length < pdu.HeaderLen || length > pdu.MaxAfterLogin {
		return pdu.Frame{}, errors.New("bad length")
	}
	raw := append(head, make([]byte, length-pdu.HeaderLen)...)
	if _, err := io.ReadFull(r, raw[pdu.HeaderLen:]); err != nil {
		return pdu.Frame{}, err
	}
	f, _, err := pdu.Next(raw, pdu.MaxAfterLogin)
	return f, err
}

func (h *hostile) neverReads(ctx context.Context, conn net.Conn) error {
	if err := h.logIn(conn); err != nil {
		return err
	}
	if tcp, ok := conn.(counted).Conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4096) // the smaller, the sooner the server feels it
	}
	ask, err := pdu.AppendMessage(nil, client.CmdAllUserReq, 2, &imbuddy.IMAllUserReq{UserId: new(uint32(0)), LatestUpdateTime: new(uint32(0))})
	if err != nil {
		return err
	}
	for {
		if _, err := conn.Write(ask); err != nil {
			return err
		}
	}
}

func (h *hostile) garbage(_ context.Context, conn net.Conn) error {
	random := rand.New(rand.NewPCG(h.o.Seed, rand.Uint64()))
	for {
		b := make([]byte, pdu.HeaderLen+random.IntN(2000))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if random.IntN(4) > 0 { // a frame that can be read, with a body that can't
			binary.BigEndian.PutUint32(b, uint32(len(b)))
			binary.BigEndian.PutUint16(b[10:], uint16(0x0100*(1+random.IntN(7))+1+random.IntN(20)))
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
}

func (h *hostile) flood(_ context.Context, conn net.Conn) error {
	if err := h.logIn(conn); err != nil {
		return err
	}
	// Everything at once, to somebody who may not exist: what matters is the work.
	go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
	body := make([]byte, 200)
	var out []byte
	for n := uint64(1); ; n++ {
		binary.BigEndian.PutUint64(body, n)
		out = pdu.Append(out[:0], client.Service(client.CmdMsgData), client.CmdMsgData, seqOf(n), func(dst []byte) []byte {
			return client.AppendMsgData(dst, 0, 1, 0, 0, int32(imbase.MsgType_MSG_TYPE_SINGLE_TEXT), body)
		})
		if _, err := conn.Write(out); err != nil {
			return err
		}
	}
}

func (h *hostile) slowloris(ctx context.Context, conn net.Conn) error {
	b, err := h.loginPDU()
	if err != nil {
		return err
	}
	for i := range b {
		if _, err := conn.Write(b[i : i+1]); err != nil {
			return err
		}
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			return nil
		}
	}
	return h.silent(ctx, conn)
}

func (h *hostile) silent(_ context.Context, conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	if err == nil {
		err = io.EOF
	}
	return err
}

func (h *hostile) lyingLength(ctx context.Context, conn net.Conn) error {
	lengths := []uint32{0, 1, 15, 4097, 400<<10 + 1, 1 << 24, 1<<31 - 1, 1<<32 - 1, 4096}
	length := lengths[rand.IntN(len(lengths))]
	b := pdu.AppendHeader(nil, pdu.Header{Length: length, Service: 1, Command: client.CmdLoginReq, Seq: 1})
	if _, err := conn.Write(append(b, make([]byte, 64)...)); err != nil {
		return err
	}
	return h.silent(ctx, conn)
}
