package up_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"godwit/connector/connectortest"
	"godwit/internal/admin"
	"godwit/internal/datadir"
	"godwit/internal/up"
)

// served is a running godwit with people anna, bela and chen.
type served struct {
	t                    *testing.T
	dir                  string
	clients, http, files string
	stop                 func() error
}

func serve(t *testing.T, dir string, change func(*up.Config)) *served {
	t.Helper()
	lines, stop := start(t, dir, func(c *up.Config) {
		c.FileListen = "127.0.0.1:0"
		c.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
		if change != nil {
			change(c)
		}
	})
	s := &served{t: t, dir: dir, stop: stop}
	for word := range strings.FieldsSeq(lines[len(lines)-1]) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "clients":
			s.clients = value
		case "http":
			s.http = value
		case "files":
			s.files = value
		}
	}
	if s.clients == "" || s.http == "" {
		t.Fatalf("ready line %q", lines)
	}
	return s
}

func (s *served) admin() *admin.Client {
	s.t.Helper()
	addr, token, err := datadir.FindAdmin(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return admin.NewClient(addr, token)
}

func (s *served) people(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if _, err := s.admin().Add(s.t.Context(), admin.NewPerson{Name: name, Password: "secret of " + name}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *served) login(name string, device uint32) *connectortest.Client {
	s.t.Helper()
	c := connectortest.Dial(s.t, s.clients)
	c.Login(name, "secret of "+name, device)
	waiting(c) // it is attached: what passes to it comes
	return c
}

const (
	onlineMode  uint32 = 1
	offlineMode uint32 = 2
)

// ask is 0x0506.
func ask(c *connectortest.Client, to uint32, name string, size, mode uint32) connectortest.Message {
	seq := c.Send(5, 0x0506, connectortest.Body(nil).Num(1, 0).Num(2, to).Text(3, name).Num(4, size).Num(5, mode))
	return c.Answer(0x0507, seq)
}

// waiting is 0x0509: the tasks, oldest first.
func waiting(c *connectortest.Client) (tasks []string) {
	m := c.Answer(0x050a, c.Send(5, 0x0509, connectortest.Body(nil).Num(1, 0)))
	for _, f := range m.Subs(2) {
		tasks = append(tasks, f.Text(2))
	}
	return tasks
}

// transfer connects to the file server that an answer names.
func (s *served) transfer(addresses connectortest.Message, task string, user, role uint32) *connectortest.Client {
	s.t.Helper()
	c := connectortest.Dial(s.t, fmt.Sprintf("%s:%d", addresses.Text(1), addresses.Num(2)))
	m := c.Answer(0x0502, c.Send(5, 0x0501, connectortest.Body(nil).Num(1, user).Text(2, task).Num(3, role)))
	if m.Num(1) != 0 {
		s.t.Fatalf("file login of %d as %d refused", user, role)
	}
	return c
}

func upload(c *connectortest.Client, user uint32, task string, data []byte) {
	for {
		m := c.AwaitCommand(0x0504)
		offset, size := m.Num(4), m.Num(5)
		c.Send(5, 0x0505, connectortest.Body(nil).Num(1, 0).Text(2, task).Num(3, user).Num(4, offset).Bytes(5, data[offset:offset+size]))
		if int(offset+size) == len(data) {
			return
		}
	}
}

func download(c *connectortest.Client, user uint32, task string, size, mode uint32) (got []byte) {
	for uint32(len(got)) < size {
		seq := c.Send(5, 0x0504, connectortest.Body(nil).Text(1, task).Num(2, user).Num(3, mode).Num(4, uint32(len(got))).Num(5, min(32768, size-uint32(len(got)))))
		got = append(got, c.Answer(0x0505, seq).Bytes(5)...)
	}
	return got
}

func TestFilesFromClientToClient(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	s.people("anna", "bela", "chen")
	anna, chen := s.login("anna", connectortest.Windows), s.login("chen", connectortest.Windows)
	bela, phone := s.login("bela", connectortest.Mac), s.login("bela", connectortest.IOS)
	file := bytes.Repeat([]byte("godwits fly far. "), 5000)
	size := uint32(len(file))
	const name = "C:\\Users\\anna\\\xc4\xe3.txt" // not UTF-8

	// Online: bela has a desktop.
	m := ask(anna, bela.ID, name, size, onlineMode)
	task := m.Text(5)
	if m.Num(1) != 0 || m.Num(2) != anna.ID || m.Num(3) != bela.ID || m.Text(4) != name || len(task) != 36 || m.Num(7) != onlineMode || len(m.Subs(6)) != 1 {
		t.Fatalf("answer %v", m)
	}
	n := bela.AwaitCommand(0x0508)
	if n.Num(1) != anna.ID || n.Num(2) != bela.ID || n.Num(4) != size || n.Text(5) != task || n.Num(7) != onlineMode || n.Num(8) != 0 ||
		!strings.HasPrefix(n.Text(3), `C:\Users\anna\`) || len(n.Subs(6)) != 1 || n.Sub(6).Text(1) != m.Sub(6).Text(1) || n.Sub(6).Num(2) != m.Sub(6).Num(2) {
		t.Fatalf("offer %v", n)
	}
	from, to := s.transfer(m.Sub(6), task, anna.ID, 1), s.transfer(n.Sub(6), task, bela.ID, 2)
	if st := to.AwaitCommand(0x0503); st.Num(1) != 0 || st.Num(3) != anna.ID {
		t.Fatalf("state %v", st)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		upload(from, anna.ID, task, file)
	}()
	if got := download(to, bela.ID, task, size, onlineMode); !bytes.Equal(got, file) {
		t.Fatal("the file came damaged")
	}
	<-sent
	to.Send(5, 0x0503, connectortest.Body(nil).Num(1, 3).Text(2, task).Num(3, bela.ID))
	from.AwaitCommand(0x0503)

	// Offline, as wanted.
	m = ask(anna, bela.ID, "a.txt", size, offlineMode)
	task = m.Text(5)
	if n := bela.AwaitCommand(0x0508); n.Text(5) != task || n.Num(7) != offlineMode || n.Num(8) != 0 {
		t.Fatalf("offer %v", n)
	}
	up := s.transfer(m.Sub(6), task, anna.ID, 3)
	offer := func(c *connectortest.Client, task string) {
		c.Send(5, 0x050b, connectortest.Body(nil).Num(1, c.ID).Num(2, bela.ID).Text(3, task).Text(4, "another name").Num(5, 1))
		waiting(c) // questions are worked off in order
	}
	offer(anna, task) // too early
	upload(up, anna.ID, task, file)
	up.AwaitCommand(0x0503)
	offer(chen, task) // not his
	if tasks := waiting(bela); len(tasks) != 0 {
		t.Fatalf("waiting before it was offered: %v", tasks)
	}
	offer(anna, task)
	offer(anna, task) // once is enough
	if n := bela.AwaitCommand(0x0508); n.Text(5) != task || n.Num(7) != offlineMode || n.Num(8) != 1 || n.Text(3) != "a.txt" || n.Num(4) != size {
		t.Fatalf("notice of the stored file: %v", n)
	}
	bela.Sync()
	for _, p := range append(bela.Late(), phone.Late()...) {
		if p.Command == 0x0508 {
			t.Fatal("a second notice of the stored file")
		}
	}
	// Another one, to a receiver without a desktop: it becomes offline.
	chen.Logout()
	for until := time.Now().Add(connectortest.Patience); ; time.Sleep(5 * time.Millisecond) {
		m := anna.Answer(0x020b, anna.Send(2, 0x020a, connectortest.Body(nil).Num(1, 0).Num(2, chen.ID)))
		if m.Sub(2).Num(2) == 2 {
			break
		}
		if time.Now().After(until) {
			t.Fatal("chen is online for ever")
		}
	}
	m = ask(anna, chen.ID, "b.txt", 5, onlineMode)
	if m.Num(1) != 0 || m.Num(7) != offlineMode {
		t.Fatalf("to somebody who is away: %v", m)
	}
	chen = s.login("chen", connectortest.Windows)

	m = ask(anna, bela.ID, "c.txt", 5, offlineMode)
	second := m.Text(5)
	up = s.transfer(m.Sub(6), second, anna.ID, 3)
	upload(up, anna.ID, second, []byte("12345"))
	up.AwaitCommand(0x0503)
	offer(anna, second)
	if tasks := waiting(bela); len(tasks) != 2 || tasks[0] != task || tasks[1] != second {
		t.Fatalf("waiting: %v, want %s and %s, oldest first", tasks, task, second)
	}
	remove := func(c *connectortest.Client, from, to uint32, task string) {
		c.Send(5, 0x050c, connectortest.Body(nil).Num(1, from).Num(2, to).Text(3, task))
		waiting(c)
	}
	remove(chen, anna.ID, bela.ID, task)
	remove(chen, chen.ID, bela.ID, task)
	remove(chen, anna.ID, chen.ID, task)
	if tasks := waiting(bela); len(tasks) != 2 {
		t.Fatalf("a stranger has removed something: %v", tasks)
	}

	// It lasts over a restart; then it is fetched and removed.
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, s.dir, nil)
	bela = s.login("bela", connectortest.Windows)
	down := s.transfer(bela.Answer(0x050a, bela.Send(5, 0x0509, connectortest.Body(nil).Num(1, 0))).Sub(3), task, bela.ID, 4)
	if got := download(down, bela.ID, task, size, offlineMode); !bytes.Equal(got, file) {
		t.Fatal("the stored file came damaged")
	}
	down.AwaitCommand(0x0503)
	remove(bela, anna.ID, bela.ID, task)
	if tasks := waiting(bela); len(tasks) != 1 || tasks[0] != second {
		t.Fatalf("after one was removed: %v", tasks)
	}
	anna = s.login("anna", connectortest.Windows)
	remove(anna, anna.ID, bela.ID, second) // taken back by its sender
	if tasks := waiting(bela); len(tasks) != 0 {
		t.Fatalf("after both were removed: %v", tasks)
	}
	late := connectortest.Dial(t, s.files)
	if m := late.Answer(0x0502, late.Send(5, 0x0501, connectortest.Body(nil).Num(1, bela.ID).Text(2, second).Num(3, 4))); m.Num(1) != 1 {
		t.Fatal("a file that was taken back is given")
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	s := serve(t, t.TempDir(), func(c *up.Config) { c.Contacts, c.FileMaxSize = "friends", 1000 })
	s.people("anna", "bela", "chen")
	if err := s.admin().SetFriends(t.Context(), "anna", "bela", true); err != nil {
		t.Fatal(err)
	}
	anna, bela, chen := s.login("anna", connectortest.Windows), s.login("bela", connectortest.Windows), s.login("chen", connectortest.Windows)
	for what, c := range map[string]struct {
		to   uint32
		name string
		size uint32
	}{
		"to a stranger": {chen.ID, "a", 10},
		"to oneself":    {anna.ID, "a", 10},
		"to nobody":     {0, "a", 10},
		"to no one":     {4711, "a", 10},
		"empty":         {bela.ID, "a", 0},
		"too large":     {bela.ID, "a", 1001},
		"huge":          {bela.ID, "a", 1<<32 - 1},
		"without name":  {bela.ID, "", 10},
	} {
		for _, mode := range []uint32{onlineMode, offlineMode} {
			if m := ask(anna, c.to, c.name, c.size, mode); m.Num(1) != 1 || m.Text(5) != "" || m.Text(4) != c.name || m.Num(3) != c.to || m.Num(7) != mode {
				t.Errorf("%s: %v", what, m)
			}
		}
	}
	if m := ask(anna, bela.ID, "a", 1000, onlineMode); m.Num(1) != 0 {
		t.Fatalf("to a friend: %v", m)
	}
	bela.AwaitCommand(0x0508)
	// bela blocks anna on her phone, and neither may send to the other.
	phone := connectortest.Dial(t, s.clients)
	phone.Login("bela", "secret of bela", connectortest.Android)
	phone.Send(32, 0x2013, connectortest.Body(nil).Num(1, anna.ID).Num(2, 7))
	for until := time.Now().Add(connectortest.Patience); ask(anna, bela.ID, "b", 10, offlineMode).Num(1) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("files still pass to who blocks")
		}
		bela.AwaitCommand(0x0508)
	}
	if m := ask(bela, anna.ID, "b", 10, offlineMode); m.Num(1) != 1 {
		t.Fatalf("files still pass from who blocks: %v", m)
	}
	for _, c := range []*connectortest.Client{anna, chen, bela} {
		c.Sync()
		for _, p := range c.Late() {
			if p.Command == 0x0508 {
				t.Error("a refused file was offered")
			}
		}
	}
}

// Who is let in no more has lost his transfers as well, for as long as it is so.
func TestFilesOfAClosedAccount(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	s.people("anna", "bela")
	anna, bela := s.login("anna", connectortest.Windows), s.login("bela", connectortest.Windows)
	rsp := ask(anna, bela.ID, "a", 10, offlineMode)
	task, at := rsp.Text(5), rsp.Sub(6)
	up := s.transfer(at, task, anna.ID, 3)
	upload(up, anna.ID, task, []byte("0123456789"))
	up.AwaitCommand(0x0503)
	try := func() uint32 {
		c := connectortest.Dial(t, fmt.Sprintf("%s:%d", at.Text(1), at.Num(2)))
		return c.Answer(0x0502, c.Send(5, 0x0501, connectortest.Body(nil).Num(1, bela.ID).Text(2, task).Num(3, 4))).Num(1)
	}
	if try() != 0 {
		t.Fatal("refused before the account was closed")
	}
	for _, disabled := range []bool{true, false} {
		if err := s.admin().SetEnabled(t.Context(), "bela", !disabled); err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(connectortest.Patience); (try() != 0) != disabled; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("disabled %v: the file port does not know", disabled)
			}
		}
	}
}

// picture is an upload as the Windows client makes it.
func picture(t *testing.T, addr string, header ...string) (status, code int, path, url string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	p, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="image"; filename="x_10x10.png"`}, "Content-Type": {"image/png"}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(p, "\x89PNG\x0d\x0a\x1a\x0a and so on")
	w.Close()
	r, err := http.NewRequest(http.MethodPost, "http://"+addr+"/upload/", &b)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", w.FormDataContentType())
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rsp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	var a struct {
		Code int    `json:"error_code"`
		Path string `json:"path"`
		URL  string `json:"url"`
	}
	if err := json.NewDecoder(rsp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return rsp.StatusCode, a.Code, a.Path, a.URL
}

func TestPicturesOnThePublicPort(t *testing.T) {
	s := serve(t, t.TempDir(), func(c *up.Config) { c.ResumeTime = time.Hour })
	s.people("anna")
	rsp, err := http.Get("http://" + s.http + "/msg_server")
	if err != nil {
		t.Fatal(err)
	}
	var where struct {
		Prior  string `json:"msfsPrior"`
		Backup string `json:"msfsBackup"`
	}
	err = json.NewDecoder(rsp.Body).Decode(&where)
	rsp.Body.Close()
	if err != nil || where.Prior != "http://"+s.http+"/" || where.Backup != where.Prior {
		t.Fatalf("the picture store is at %+v, %v", where, err)
	}
	if status, code, _, _ := picture(t, s.http); status != 401 || code != 13 {
		t.Fatalf("a stranger's upload: %d, code %d", status, code)
	}
	connectortest.Dial(t, s.clients).Sync() // a connection is no login
	if status, _, _, _ := picture(t, s.http); status != 401 {
		t.Fatalf("the upload of who is connected only: %d", status)
	}
	// A new client, whose answer has fields that an old one's has not.
	anna := connectortest.Dial(t, s.clients)
	anna.Send(1, 0x0103, append(connectortest.LoginBody("anna", "secret of anna", connectortest.Windows), connectortest.Body(nil).Num(100, 8)...))
	b := make([]byte, 4<<10)
	_ = anna.Conn().SetReadDeadline(time.Now().Add(connectortest.Patience))
	if _, err := io.ReadFull(anna.Conn(), b[:connectortest.HeaderLen]); err != nil {
		t.Fatal(err)
	}
	b = b[:binary.BigEndian.Uint32(b)]
	if _, err := io.ReadFull(anna.Conn(), b[connectortest.HeaderLen:]); err != nil {
		t.Fatal(err)
	}
	m, err := connectortest.ParseMessage(b[connectortest.HeaderLen:])
	if err != nil || m.Num(2) != 0 {
		t.Fatalf("login: %v, %v", m, err)
	}
	status, code, path, url := picture(t, s.http)
	if status != 200 || code != 0 || url != where.Prior+path {
		t.Fatalf("anna's upload: %d, code %d, %s at %s", status, code, path, url)
	}
	got, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	b, _ = io.ReadAll(got.Body)
	got.Body.Close()
	if got.StatusCode != 200 || got.Header.Get("Content-Type") != "image/png" || !bytes.HasPrefix(b, []byte("\x89PNG")) {
		t.Fatalf("fetched: %d, %s, %q", got.StatusCode, got.Header.Get("Content-Type"), b)
	}
	var token []byte
	for _, f := range m {
		if len(f.Bytes) == 57 {
			token = f.Bytes
		}
	}
	if token == nil {
		t.Fatalf("no resume token in %v", m)
	}
	anna.Logout()
	awaitStatus := func(want int, header ...string) {
		t.Helper()
		for until := time.Now().Add(connectortest.Patience); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
			if status, _, _, _ = picture(t, s.http, header...); status == want {
				return
			}
		}
		t.Fatalf("with %v: %d, want %d", header, status, want)
	}
	awaitStatus(401)
	awaitStatus(200, "Authorization", "Bearer "+base64.StdEncoding.EncodeToString(token))
	awaitStatus(200, "Authorization", "Bearer "+base64.RawURLEncoding.EncodeToString(token))
	_, operator, err := datadir.FindAdmin(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	awaitStatus(200, "Authorization", "Bearer "+operator)
	token[20]++
	awaitStatus(401, "Authorization", "Bearer "+base64.RawURLEncoding.EncodeToString(token))
	token[20]--
	if err := s.admin().SetPassword(t.Context(), "anna", "another one"); err != nil {
		t.Fatal(err)
	}
	awaitStatus(401, "Authorization", "Bearer "+base64.RawURLEncoding.EncodeToString(token))
	if rsp, err := http.Post("http://"+s.http+"/msg_server", "", strings.NewReader("x")); err != nil || rsp.StatusCode != 200 {
		t.Fatalf("POST /msg_server: %v", err)
	}
}
