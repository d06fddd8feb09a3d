package conformance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	ct "godwit/connector/connectortest"
	"godwit/internal/wsclient"
)

// web is the client type of browsers, which the original does not know.
const web = uint32(33)

// browser speaks JSON word by word: nothing of ours makes or reads its texts.
type browser struct {
	t    testing.TB
	conn net.Conn
}

func (s *server) browser(t testing.TB) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, _, err := ws.Dial(ctx, s.webSocket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &browser{t, conn}
}

func (b *browser) says(format string, args ...any) {
	b.t.Helper()
	_ = b.conn.SetWriteDeadline(time.Now().Add(patience))
	if err := wsutil.WriteClientText(b.conn, fmt.Appendf(nil, format, args...)); err != nil {
		b.t.Fatal(err)
	}
}

// signsIn logs in as a browser does.
func (b *browser) signsIn(p person) {
	b.t.Helper()
	b.says(`{"command":"IMLoginReq","seq":1,"body":{"userName":"%s","plainPassword":"%s","onlineStatus":"USER_STATUS_ONLINE","clientType":"CLIENT_TYPE_WEB","features":15}}`,
		p.name, password1)
	b.hears("IMLoginRes", `{"service":1,"command":"IMLoginRes","seq":1,"body":{"serverTime":TIME,"resultCode":"REFUSE_REASON_NONE","resultString":"成功",`+
		`"onlineStatus":"USER_STATUS_ONLINE","userInfo":{"userId":%d,"userGender":0,"userNickName":"%s","avatarUrl":"","departmentId":0,"email":"",`+
		`"userRealName":"%s","userTel":"","userDomain":"","status":0,"signInfo":""},"features":15,"resumeToken":BYTES,"resumeExpires":TIME}}`, p.id, p.nick, p.name)
}

var (
	times  = regexp.MustCompile(`("(?:serverTime|createTime|updatedTime|resumeExpires)":)\d{10}\b`)
	tokens = regexp.MustCompile(`("(?:resumeToken)":)"[A-Za-z0-9+/=]+"`)
)

// hears awaits a text with a command and compares all of it. Others that come before it are passed
// over: they are notices about people of other tests.
func (b *browser) hears(command, format string, args ...any) {
	b.t.Helper()
	_ = b.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		got, err := wsutil.ReadServerText(b.conn)
		if err != nil {
			b.t.Fatalf("waiting for %s: %v", command, err)
		}
		if !strings.Contains(string(got), `"command":"`+command+`"`) {
			continue
		}
		shown := tokens.ReplaceAllString(times.ReplaceAllString(string(got), "${1}TIME"), "${1}BYTES")
		if want := fmt.Sprintf(format, args...); shown != want {
			b.t.Fatalf("\n got %s\nwant %s", shown, want)
		}
		return
	}
}

// closes awaits the server's last word.
func (b *browser) closes(code ws.StatusCode) {
	b.t.Helper()
	_ = b.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		_, err := wsutil.ReadServerText(b.conn)
		if e, ok := errors.AsType[wsutil.ClosedError](err); ok {
			if e.Code != code || e.Reason == "" {
				b.t.Errorf("closed with %v, want %d", e, code)
			}
			return
		}
		if err != nil {
			b.t.Fatalf("waiting for the close: %v", err)
		}
	}
}

func wrapped(text string) string { return base64.StdEncoding.EncodeToString(ct.EncryptText(text)) }

// TestBrowserAndWindows: a browser that has plain texts only and a client of old that has wrapped
// ones read each other, word by word and byte by byte.
func TestBrowserAndWindows(t *testing.T) {
	t.Parallel()
	ann, bob := main.person(t), main.person(t)
	windows := main.login(t, bob, ct.Windows)
	b := main.browser(t)
	b.signsIn(ann)

	const hello = "héllo \U0001f426 \"<b>\"\n"
	plain, err := json.Marshal(hello)
	if err != nil {
		t.Fatal(err)
	}
	b.says(`{"command":"IMMsgData","seq":2,"body":{"toSessionId":%d,"msgType":"MSG_TYPE_SINGLE_TEXT","text":%s}}`, bob.id, plain)
	b.hears("IMMsgDataAck", `{"service":3,"command":"IMMsgDataAck","seq":2,"body":{"userId":%d,"sessionId":%d,"msgId":1,"sessionType":"SESSION_TYPE_SINGLE"}}`, ann.id, bob.id)
	got := windows.await(0x0301, 0)
	windows.compare(got, 0x0301, 0, text(ann.id, bob.id, 1, windows.clock(field(t, got, 4)), 1, ct.EncryptText(hello)))

	windows.request(0x0301, 9, text(bob.id, ann.id, 0, 0, 1, ct.EncryptText("Grüße\t\\")))
	windows.expect(0x0302, 9, ack(bob.id, ann.id, 2))
	b.hears("IMMsgData", `{"service":3,"command":"IMMsgData","seq":0,"body":{"fromUserId":%d,"toSessionId":%d,"msgId":2,"createTime":TIME,"msgType":"MSG_TYPE_SINGLE_TEXT",`+
		`"msgData":"%s","text":"Grüße\t\\"}}`, bob.id, ann.id, wrapped("Grüße\t\\"))
	windows.request(0x0301, 10, text(bob.id, ann.id, 0, 0, 2, []byte("\x00\x00\x00\x03voice")))
	windows.expect(0x0302, 10, ack(bob.id, ann.id, 3))
	b.hears("IMMsgData", `{"service":3,"command":"IMMsgData","seq":0,"body":{"fromUserId":%d,"toSessionId":%d,"msgId":3,"createTime":TIME,"msgType":"MSG_TYPE_SINGLE_AUDIO",`+
		`"msgData":"AAAAA3ZvaWNl"}}`, bob.id, ann.id)

	b.says(`{"command":"IMGetMsgListReq","seq":3,"body":{"sessionType":1,"sessionId":%d,"msgIdBegin":2,"msgCnt":2}}`, bob.id)
	b.hears("IMGetMsgListRsp", `{"service":3,"command":"IMGetMsgListRsp","seq":3,"body":{"userId":%d,"sessionType":"SESSION_TYPE_SINGLE","sessionId":%d,"msgIdBegin":2,"msgList":[`+
		`{"msgId":2,"fromSessionId":%d,"createTime":TIME,"msgType":"MSG_TYPE_SINGLE_TEXT","msgData":"%s","text":"Grüße\t\\"},`+
		`{"msgId":1,"fromSessionId":%d,"createTime":TIME,"msgType":"MSG_TYPE_SINGLE_TEXT","msgData":"%s","text":"héllo `+"\U0001f426"+` \"<b>\"\n"}]}}`,
		ann.id, bob.id, bob.id, wrapped("Grüße\t\\"), ann.id, wrapped(hello))
	b.says(`{"command":"IMUnreadMsgCntReq","seq":4}`)
	b.hears("IMUnreadMsgCntRsp", `{"service":3,"command":"IMUnreadMsgCntRsp","seq":4,"body":{"userId":%d,"totalCnt":2,"unreadinfoList":[{"sessionId":%d,"sessionType":"SESSION_TYPE_SINGLE",`+
		`"unreadCnt":2,"latestMsgId":3,"latestMsgData":"UWhHWGxwRmp2TUZVTnJ0bDFhYVB6QT09","latestText":"[语音]","latestMsgType":"MSG_TYPE_SINGLE_AUDIO","latestMsgFromUserId":%d}]}}`, ann.id, bob.id, bob.id)
	b.says(`{"command":"IMMsgDataReadAck","body":{"sessionId":%d,"msgId":3,"sessionType":"SESSION_TYPE_SINGLE"}}`, bob.id)

	b.says(`{"command":"EditReq","seq":5,"body":{"sessionId":%d,"sessionType":1,"msgId":1,"text":"mended"}}`, bob.id)
	b.hears("EditRsp", `{"service":32,"command":"EditRsp","seq":5,"body":{"refusal":"REFUSAL_NONE","sessionId":%d,"sessionType":"SESSION_TYPE_SINGLE","msgId":1}}`, bob.id)
	windows.Newer = true // what is shown of an edited message says so, to everybody
	if got := windows.ByIDs(ann.id, 1); len(got) != 1 || !bytes.Equal(got[0].Content, ct.EncryptText("mended")) {
		t.Errorf("edited to %v", got)
	}
	b.says(`{"command":"RecallReq","seq":6,"body":{"sessionId":%d,"sessionType":1,"msgId":1}}`, bob.id)
	b.hears("RecallRsp", `{"service":32,"command":"RecallRsp","seq":6,"body":{"refusal":"REFUSAL_NONE","sessionId":%d,"sessionType":"SESSION_TYPE_SINGLE","msgId":1}}`, bob.id)
	b.says(`{"command":"IMMsgData","seq":7,"body":{"toSessionId":%d,"text":"no type"}}`, bob.id)
	b.hears("IMMsgData", `{"command":"IMMsgData","seq":7,"error":"body.msgType: missing"}`)
	b.says(`{"command":"IMLogoutReq","seq":8}`)
	b.hears("IMLogoutRsp", `{"service":1,"command":"IMLogoutRsp","seq":8,"body":{"resultCode":0}}`)
	b.closes(1000)
}

// TestWebClass: a browser is a class of its own beside a PC and a phone; to the phone and to others
// it is what a PC is.
func TestWebClass(t *testing.T) {
	t.Parallel()
	p, peer := main.person(t), main.person(t)
	witness := main.login(t, peer, ct.Mac)
	phone := main.login(t, p, ct.Android)
	first := main.browser(t)
	first.signsIn(p)
	phone.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 1))
	witness.awaitStatus(p.id, 1)
	// A newer one replaces it, over any transport, and says why.
	second := main.dialOver(t, overBinary, "", web)
	second.signIn(p)
	first.hears("IMKickUser", `{"service":1,"command":"IMKickUser","seq":0,"body":{"userId":%d,"kickReason":"KICK_REASON_DUPLICATE_USER"}}`, p.id)
	first.closes(4001)
	pc := main.login(t, p, ct.Windows)
	if on := witness.Statuses(p.id); !on[0] {
		t.Error("not online")
	}
	// A message of one comes to the others.
	second.sends(peer, []byte("from the web"), witness, phone, pc)
	// The phone sends both away.
	phone.KickDesktop()
	pc.sentAway(2)
	second.await(0x0107, 0)
	var last error
	for last == nil {
		_ = second.Conn().SetReadDeadline(time.Now().Add(patience))
		_, last = second.Conn().Read(make([]byte, 1024))
	}
	if e, ok := errors.AsType[*wsclient.CloseError](last); !ok || e.Code != 4002 {
		t.Errorf("closed with %v", last)
	}
	witness.awaitStatus(p.id, 2)
	if on := witness.Statuses(p.id); on[0] {
		t.Error("still online")
	}
	// Who is refused is told so in both ways.
	stranger := main.browser(t)
	stranger.says(`{"command":"CID_LOGIN_REQ_USERLOGIN","seq":65535,"body":{"userName":"%s","plainPassword":"wrong","onlineStatus":1,"clientType":33}}`, p.name)
	stranger.hears("IMLoginRes", `{"service":1,"command":"IMLoginRes","seq":65535,"body":{"serverTime":TIME,"resultCode":"REFUSE_REASON_DB_VALIDATE_FAILED","resultString":"%s"}}`, wrongText)
	stranger.closes(4006)
}
