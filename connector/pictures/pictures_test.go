package pictures_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/textproto"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/connector/pictures"
)

// The beginnings by which a content is known.
var (
	png  = []byte("\x89PNG\x0d\x0a\x1a\x0a")
	jpeg = []byte("\xff\xd8\xff\xe0")
	gif  = []byte("GIF89a")
)

// content begins with head and is n bytes long.
func content(head []byte, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b)
	copy(b, head)
	return b
}

type rig struct {
	*bustest.Kit
	t   *testing.T
	url string
}

func newRig(t *testing.T, edit ...func(c *pictures.Config)) *rig {
	t.Helper()
	r := &rig{Kit: bustest.New(t), t: t}
	c := pictures.Config{Bus: r.Bus, Room: 32 << 20, Upload: pictures.Open, Logger: bustest.Logger(t)}
	for _, e := range edit {
		e(&c)
	}
	h, err := pictures.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

// answer is what an upload is told.
type answer struct {
	status int
	raw    string
	Code   *int    `json:"error_code"`
	Msg    *string `json:"error_msg"`
	Path   string  `json:"path"`
	URL    *string `json:"url"`
}

func (r *rig) post(contentType string, body []byte, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.url+"/upload/", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.do(req)
}

func (r *rig) do(req *http.Request) answer {
	r.t.Helper()
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := answer{status: rsp.StatusCode, raw: string(b)}
	if err := json.Unmarshal(b, &a); err != nil || a.Code == nil || a.Msg == nil || a.URL == nil {
		r.t.Fatalf("answer %q: %v", b, err)
	}
	return a
}

// form is a multipart body as clients make it.
func form(name string, data []byte) (contentType string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	p, _ := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {fmt.Sprintf(`form-data; name="image"; filename="%s"`, name)},
		"Content-Type":        {"image/jpeg"},
	})
	_, _ = p.Write(data)
	_ = w.Close()
	return w.FormDataContentType(), b.Bytes()
}

func (r *rig) upload(name string, data []byte) answer {
	r.t.Helper()
	return r.post(form(name, data))
}

func (r *rig) get(path string, header ...string) (*http.Response, []byte) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.url+"/"+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return rsp, b
}

func TestUploadedFilesAreFetched(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		name, path, contentType, disposition string
		data                                 []byte
	}{
		{"cat.png", `\d+_[0-9a-f]{16}\.png`, "image/png", "inline", content(png, 300)},
		{`C:\pictures\my_cat_640x480.jpg`, `\d+_[0-9a-f]{16}_640x480\.jpg`, "image/jpg", "inline", content(jpeg, 128<<10)},
		{"a.b_1x1.JPEG", `\d+_[0-9a-f]{16}_1x1\.jpeg`, "image/jpeg", "inline", content(jpeg, 128<<10+1)},
		{"x_12345x1.gif", `\d+_[0-9a-f]{16}\.gif`, "image/gif", "inline", content(gif, 5<<20)},
		{"1.audio", `\d+_[0-9a-f]{16}\.audio`, "application/octet-stream", "attachment", content([]byte("OggS"), 50_000)},
		{"page.html", `\d+_[0-9a-f]{16}\.html`, "application/octet-stream", "attachment", []byte("<script>alert(1)</script>")},
		{"картинка.png", `\d+_[0-9a-f]{16}\.png`, "image/png", "inline", content(png, 10)},
	} {
		a := r.upload(c.name, c.data)
		if a.status != 200 || *a.Code != 0 || *a.Msg != "成功" {
			t.Fatalf("%s: %d %s", c.name, a.status, a.raw)
		}
		if !strings.HasPrefix(a.raw, `{"error_code":0,"error_msg": "成功","path":"g0/`) {
			t.Errorf("answer in another form: %s", a.raw)
		}
		if want := `^g0/(0\d\d|1\d\d|2[0-4]\d|25[0-4])/(0\d\d|1\d\d|2[0-4]\d|25[0-4])/` + c.path + "$"; !regexp.MustCompile(want).MatchString(a.Path) {
			t.Fatalf("%s lies at %q", c.name, a.Path)
		}
		if *a.URL != r.url+"/"+a.Path {
			t.Fatalf("URL %q of path %q", *a.URL, a.Path)
		}
		rsp, got := r.get(a.Path)
		if rsp.StatusCode != 200 || !bytes.Equal(got, c.data) {
			t.Fatalf("%s: %d, %d bytes of %d", c.name, rsp.StatusCode, len(got), len(c.data))
		}
		h := rsp.Header
		if h.Get("Content-Type") != c.contentType || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.HasPrefix(h.Get("Content-Disposition"), c.disposition) || !strings.Contains(h.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: headers %v", c.name, h)
		}
		if rsp, _ := r.get(a.Path, "If-None-Match", h.Get("ETag")); rsp.StatusCode != http.StatusNotModified {
			t.Errorf("asked again by its tag: %d", rsp.StatusCode)
		}
		n := len(c.data)
		if rsp, got := r.get(a.Path, "Range", fmt.Sprintf("bytes=%d-", n/2)); rsp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, c.data[n/2:]) {
			t.Errorf("%s: the second half: %d, %d bytes", c.name, rsp.StatusCode, len(got))
		}
		if rsp, got := r.get(a.Path + "_100x100.jpg"); rsp.StatusCode != 200 || len(got) != n {
			t.Errorf("%s: as an avatar of another size: %d, %d bytes", c.name, rsp.StatusCode, len(got))
		}
	}
}

func TestEveryErrorCodeOfTheOriginal(t *testing.T) {
	r := newRig(t)
	const kind = "multipart/form-data; boundary=XX"
	part := func(head, rest string) []byte { return []byte("--XX\r\n" + head + rest) }
	const (
		disposition = "Content-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n"
		typed       = "Content-Type: image/png\r\n"
	)
	named := func(name string) []byte {
		return part("Content-Disposition: form-data; name=\"image\"; filename=\""+name+"\"\r\n"+typed+"\r\n", string(png)+"\r\n--XX--\r\n")
	}
	for _, c := range []struct {
		what string
		kind string
		body []byte
		code int
	}{
		{"too large", kind, part(disposition+typed+"\r\n", string(content(png, 5<<20+1))+"\r\n--XX--\r\n"), 1},
		{"far too large", kind, part(disposition+typed+"\r\n", string(content(png, 11<<20))+"\r\n--XX--\r\n"), 1},
		{"no disposition", kind, part(typed+"\r\n", "x\r\n--XX--\r\n"), 2},
		{"no file name", kind, part("Content-Disposition: form-data; name=\"image\"\r\n"+typed+"\r\n", "x\r\n--XX--\r\n"), 3},
		{"an empty file name", kind, named(""), 3},
		{"an open file name", kind, part("Content-Disposition: form-data; filename=\"a.png\r\n"+typed+"\r\n", "x\r\n--XX--\r\n"), 3},
		{"no boundary given", "multipart/form-data", named("a.png"), 4},
		{"an empty boundary", "multipart/form-data; boundary=", named("a.png"), 4},
		{"no type at all", "", named("a.png"), 4},
		{"boundary not there", kind, []byte("nothing of the kind"), 5},
		{"an empty body", kind, nil, 5},
		{"no type of the part", kind, part(disposition+"\r\n", "x\r\n--XX--\r\n"), 6},
		{"no end of the header", kind, part(disposition+typed, "x"), 7},
		{"a header without end", kind, part(disposition+typed+strings.Repeat("X: y\r\n", 2000)+"\r\n", "x\r\n--XX--\r\n"), 7},
		{"no closing boundary", kind, part(disposition+typed+"\r\n", "x"), 8},
		{"another closing boundary", kind, part(disposition+typed+"\r\n", "x\r\n--XY--\r\n"), 8},
		{"a long extension", kind, named("a." + strings.Repeat("e", 16)), 9},
		{"an empty extension", kind, named("a."), 9},
		{"an extension that is a path", kind, named("a./../../b"), 9},
		{"an extension of bytes", kind, named("a.\x00\xff"), 9},
		{"no dot", kind, named("picture"), 10},
		{"a long name", kind, named(strings.Repeat("n", 252) + ".png"), 11},
		{"a page as a picture", kind, part(disposition+typed+"\r\n", "<html><script>\r\n--XX--\r\n"), 12},
		{"one picture as another", kind, part(disposition+typed+"\r\n", string(jpeg)+"\r\n--XX--\r\n"), 12},
		{"nothing in it", kind, part(disposition+typed+"\r\n", "\r\n--XX--\r\n"), 12},
	} {
		a := r.post(c.kind, c.body)
		want := map[int]string{1: "上传文件过大", 12: "文件类型不符"}[c.code]
		if want == "" {
			want = "格式错误"
		}
		if a.status != 200 || *a.Code != c.code || *a.Msg != want || *a.URL != "" || a.Path != "" {
			t.Errorf("%s: %d %s, want code %d", c.what, a.status, a.raw, c.code)
		}
		if want := fmt.Sprintf(`{"error_code":%d,"error_msg": "%s","url":""}`, c.code, want); a.raw != want {
			t.Errorf("%s: answer %s, want %s", c.what, a.raw, want)
		}
	}
	// Limits that are just kept, and odd ways to write what is right.
	for what, a := range map[string]answer{
		"name of 255":          r.post(kind, named(strings.Repeat("n", 251)+".png")),
		"extension of 15":      r.post(kind, named("a."+strings.Repeat("e", 15))),
		"5 MiB":                r.post(kind, part(disposition+typed+"\r\n", string(content(png, 5<<20))+"\r\n--XX--\r\n")),
		"quoted boundary":      r.post(`multipart/form-data; boundary="XX"`, named("a.png")),
		"odd content type":     r.post(`multipart/form-data; charset; boundary=XX`, named("a.png")),
		"several parts":        r.post(kind, append(part(disposition+typed+"\r\n", string(png)+"\r\n"), named("b.exe")...)),
		"no quotes":            r.post(kind, part("content-disposition: form-data; filename=a.png\r\n"+typed+"\r\n", string(png)+"\r\n--XX--\r\n")),
		"something before it":  r.post(kind, append([]byte("preamble\r\n"), named("a.png")...)),
		"no end of the ending": r.post(kind, bytes.TrimSuffix(named("a.png"), []byte("--\r\n"))),
	} {
		if *a.Code != 0 {
			t.Errorf("%s: %s", what, a.raw)
		}
	}
}

func TestNothingButStoredFilesIsGiven(t *testing.T) {
	r := newRig(t)
	a := r.upload("a.png", content(png, 100))
	for path, want := range map[string]int{
		"":                                  404,
		"g0":                                404,
		"g0/000/000":                        404,
		"g0/000/000/":                       404,
		"g0/000/000/1_0123456789abcdef.png": 404,
		"g0/000/000/x.png":                  404,
		a.Path + "x":                        404,
		a.Path + "/":                        404,
		a.Path + ".0":                       404,
		strings.ToUpper(a.Path):             404,
		"x/" + a.Path:                       404,
		"g0/../g0/000/x":                    400,
		"..%2f..%2fetc/passwd":              400,
		"g0/%2e%2e/%2e%2e/etc/passwd":       400,
		a.Path + "?q=..":                    200,
	} {
		req, err := http.NewRequest(http.MethodGet, r.url+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = "/" + path // as it is, not cleaned
		rsp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		rsp.Body.Close()
		if rsp.StatusCode != want {
			t.Errorf("GET /%s: %d, want %d", path, rsp.StatusCode, want)
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, "PROPFIND", http.MethodOptions} {
		req, _ := http.NewRequest(method, r.url+"/"+a.Path, nil)
		rsp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		rsp.Body.Close()
		if rsp.StatusCode != 403 {
			t.Errorf("%s: %d", method, rsp.StatusCode)
		}
	}
}

func TestUploadsNeedAPermission(t *testing.T) {
	var mu sync.Mutex
	known := map[netip.Addr]bool{}
	r := newRig(t, func(c *pictures.Config) {
		c.Upload = pictures.Session
		c.HasAddress = func(a netip.Addr) bool {
			mu.Lock()
			defer mu.Unlock()
			return known[a]
		}
		c.Allow = []func(*http.Request) bool{
			func(*http.Request) bool { return false },
			func(q *http.Request) bool { return q.Header.Get("Authorization") == "Bearer good" },
		}
	})
	kind, body := form("a.png", content(png, 100))
	for _, header := range [][]string{nil, {"Authorization", "Bearer bad"}, {"X-Forwarded-For", "10.0.0.1"}} {
		if a := r.post(kind, body, header...); a.status != 401 || *a.Code != 13 || *a.URL != "" {
			t.Errorf("a stranger with %v: %d %s", header, a.status, a.raw)
		}
	}
	if a := r.post(kind, body, "Authorization", "Bearer good"); *a.Code != 0 {
		t.Errorf("with a token: %s", a.raw)
	}
	mu.Lock()
	known[netip.MustParseAddr("127.0.0.1")] = true
	mu.Unlock()
	a := r.post(kind, body)
	if *a.Code != 0 {
		t.Errorf("from the address of a session: %s", a.raw)
	}

	off := newRig(t, func(c *pictures.Config) {
		c.Upload, c.HasAddress = pictures.Off, func(netip.Addr) bool { return true }
	})
	if a := off.post(kind, body); a.status != 403 || *a.Code != 13 {
		t.Errorf("switched off: %d %s", a.status, a.raw)
	}
	nobody := newRig(t, func(c *pictures.Config) { c.Upload = "" })
	if a := nobody.post(kind, body); a.status != 401 {
		t.Errorf("by default: %d %s", a.status, a.raw)
	}
	if _, err := pictures.New(t.Context(), pictures.Config{Bus: r.Bus, Upload: "all"}); err == nil {
		t.Error("an unknown way to permit was taken")
	}
}

// A stranger's upload is refused before it is read: it costs neither memory nor a place.
func TestAStrangersBodyIsNotRead(t *testing.T) {
	r := newRig(t, func(c *pictures.Config) { c.Upload = pictures.Session })
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\nabc")
	b, err := io.ReadAll(conn) // to the end, that comes though nothing more is sent
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		t.Fatal("the server waits for a stranger's body")
	}
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 401")) {
		t.Fatalf("answer %q", b)
	}
}

func TestUploadsOfAnAddressAreLimited(t *testing.T) {
	r := newRig(t, func(c *pictures.Config) { c.Rate, c.Burst = 0.001, 3 })
	kind, body := form("a.png", content(png, 100))
	for i := range 3 {
		if a := r.post(kind, body); *a.Code != 0 {
			t.Fatalf("upload %d: %s", i, a.raw)
		}
	}
	if a := r.post(kind, body); a.status != 429 || *a.Code != 15 {
		t.Fatalf("the fourth: %d %s", a.status, a.raw)
	}

	slow := newRig(t, func(c *pictures.Config) { c.PerAddress = 1 })
	pr, pw := io.Pipe()
	began := make(chan answer, 1)
	go func() {
		req, _ := http.NewRequest(http.MethodPost, slow.url+"/", pr)
		req.Header.Set("Content-Type", kind)
		began <- slow.do(req)
	}()
	if _, err := pw.Write(body[:1]); err != nil { // it is being received
		t.Fatal(err)
	}
	bustest.Eventually(t, "a second upload at once is refused", func() bool { return slow.post(kind, body).status == 429 })
	_, _ = pw.Write(body[1:])
	pw.Close()
	if a := <-began; *a.Code != 0 {
		t.Fatalf("the first: %s", a.raw)
	}
	if a := slow.post(kind, body); *a.Code != 0 {
		t.Fatalf("after the first has ended: %s", a.raw)
	}
}

func TestAFullStoreAndADiskWithoutSpace(t *testing.T) {
	r := newRig(t, func(c *pictures.Config) { c.Room = 1 << 20 })
	var paths []string
	var last answer
	for len(paths) < 5 {
		if last = r.upload("a.png", content(png, 300<<10)); *last.Code != 0 {
			break
		}
		paths = append(paths, last.Path)
	}
	if len(paths) != 3 || last.status != 507 || *last.Code != 14 {
		t.Fatalf("after %d: %d %s", len(paths), last.status, last.raw)
	}
	for _, p := range paths {
		if rsp, b := r.get(p); rsp.StatusCode != 200 || len(b) != 300<<10 {
			t.Errorf("%s: %d, %d bytes", p, rsp.StatusCode, len(b))
		}
	}
	// What did not fit has left nothing: a small one still does.
	if a := r.upload("a.png", content(png, 100<<10)); *a.Code != 0 {
		t.Errorf("a small one: %s", a.raw)
	}
	r.SetFree(func() (uint64, error) { return 1, nil })
	bustest.Eventually(t, "the disk is full", func() bool { return errors.Is(r.Healthy(), bus.ErrLowSpace) })
	if a := r.upload("a.png", content(png, 10)); a.status != 503 || *a.Code != 15 {
		t.Errorf("without space: %d %s", a.status, a.raw)
	}
}

func TestTheConfiguredURLIsAnswered(t *testing.T) {
	r := newRig(t, func(c *pictures.Config) { c.URL = "https://cdn.example.org/p" })
	a := r.upload("a.png", content(png, 10))
	if *a.URL != "https://cdn.example.org/p/"+a.Path {
		t.Fatalf("URL %q", *a.URL)
	}
	r = newRig(t)
	req, _ := http.NewRequest(http.MethodPost, r.url+"/", nil)
	kind, body := form("a.png", content(png, 10))
	req.Body, req.ContentLength, req.Host = io.NopCloser(bytes.NewReader(body)), int64(len(body)), "pictures.example.org:8080"
	req.Header.Set("Content-Type", kind)
	if a := r.do(req); *a.URL != "http://pictures.example.org:8080/"+a.Path {
		t.Fatalf("URL %q", *a.URL)
	}
}

func TestPicturesSurviveARestart(t *testing.T) {
	r := newRig(t)
	data := content(png, 400<<10)
	a := r.upload("a.png", data)
	r.Restart(nil)
	bustest.Eventually(t, "the picture is given", func() bool {
		rsp, b := r.get(a.Path)
		return rsp.StatusCode == 200 && bytes.Equal(b, data)
	})
}
