package connector

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"godwit/connector/identity"
	"godwit/internal/password"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	"godwit/schema/event"
	"godwit/schema/frame"
)

const allFeatures = uint32(imextension.Feature_FEATURE_NOTICES | imextension.Feature_FEATURE_RECEIPTS |
	imextension.Feature_FEATURE_TYPING | imextension.Feature_FEATURE_RESUME)

// safe is where the secrets of all nodes lie.
type safe struct {
	secrets [][]byte
	err     error
	reads   int
}

func (s *safe) read(context.Context) ([][]byte, error) {
	s.reads++
	return s.secrets, s.err
}

// renew puts a new secret in front, as the bus does it.
func (s *safe) renew(b byte) {
	s.secrets = append([][]byte{bytes.Repeat([]byte{b}, 32)}, s.secrets[:min(1, len(s.secrets))]...)
}

func newSafe() *safe {
	s := &safe{}
	s.renew('1')
	return s
}

func withTokens(s *safe) func(c *Config) {
	return func(c *Config) { c.ResumeTime, c.Secrets = time.Hour, s.read }
}

// enter logs in with a request of its own and gives the answer.
func (r *rig) enter(req *imlogin.IMLoginReq) (*wire, *imlogin.IMLoginRes) {
	r.t.Helper()
	w := r.connect()
	w.send(w.pack(client.CmdLoginReq, 9, req))
	r.step(w)
	all := w.take()
	if len(all) == 0 {
		r.t.Fatal("no answer to the login")
	}
	res, ok := all[0].m.(*imlogin.IMLoginRes)
	if !ok || all[0].Seq != 9 {
		r.t.Fatalf("login: %v", all[0])
	}
	return w, res
}

func featured(name string) *imlogin.IMLoginReq {
	req := loginReq(name, "pw", windows)
	req.Features = new(allFeatures | 1<<30)
	return req
}

// resumed is a login by token; name and password are empty.
func resumed(token []byte) *imlogin.IMLoginReq {
	req := loginReq("", "", windows)
	req.Password, req.Features, req.ResumeToken = new(""), new(allFeatures), token
	return req
}

func TestFeaturesAreEchoedAsFarAsTheyAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTokens(newSafe()))
		w, res := r.enter(featured("ann"))
		if res.GetFeatures() != allFeatures || w.s.features != allFeatures {
			t.Errorf("features %b, of the session %b", res.GetFeatures(), w.s.features)
		}
		req := loginReq("bob", "pw", windows)
		req.Features = new(uint32(imextension.Feature_FEATURE_TYPING))
		if _, res = r.enter(req); res.GetFeatures() != uint32(imextension.Feature_FEATURE_TYPING) || res.ResumeToken != nil {
			t.Errorf("typing only: %v", res)
		}
		if _, res = r.enter(loginReq("cy", "pw", windows)); res.Features != nil || res.ResumeToken != nil || res.ResumeExpires != nil {
			t.Errorf("an old client is told of what it can't know: %v", res)
		}
	})
}

func TestATokenLogsInWithoutThePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTokens(newSafe()))
		_, first := r.enter(featured("ann"))
		if first.GetResumeExpires() != uint32(time.Now().Add(time.Hour).Unix()) || len(first.GetResumeToken()) != tokenSize {
			t.Fatalf("answer %v", first)
		}
		// Whoever looks at the hash now finds that it can't be checked.
		r.node.set(func() { r.node.people[1].PasswordHash = "$none" })
		r.node.changed(&frame.PersonChanged{User: 1})
		time.Sleep(time.Minute)
		_, again := r.enter(resumed(first.GetResumeToken()))
		if again.GetResultCode() != loginOK || again.GetUserInfo().GetUserId() != 1 {
			t.Fatalf("answer %v", again)
		}
		if bytes.Equal(again.GetResumeToken(), first.GetResumeToken()) || again.GetResumeExpires() != first.GetResumeExpires()+60 {
			t.Error("no new token came with the answer")
		}
		named := resumed(again.GetResumeToken())
		named.UserName = new("ANN")
		if _, res := r.enter(named); res.GetResultCode() != loginOK {
			t.Errorf("with the name: %v", res)
		}
		if r.node.find("SessionOpened").GetSessionOpened().GetUser() != 1 {
			t.Error("the session is somebody else's")
		}
	})
}

func TestTokensThatAreNoGood(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(r *rig, s *safe, token []byte) *imlogin.IMLoginReq
		code  imbase.ResultType
	}{
		{"cut", func(_ *rig, _ *safe, token []byte) *imlogin.IMLoginReq { return resumed(token[:tokenSize-1]) }, loginWrong},
		{"longer", func(_ *rig, _ *safe, token []byte) *imlogin.IMLoginReq { return resumed(append(token, 0)) }, loginWrong},
		{"another's name", func(_ *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			req := resumed(token)
			req.UserName = new("bob")
			return req
		}, loginWrong},
		{"nobody's name", func(_ *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			req := resumed(token)
			req.UserName = new("nobody")
			return req
		}, loginWrong},
		{"a second before its end", func(_ *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			time.Sleep(time.Hour - time.Second)
			return resumed(token)
		}, loginOK},
		{"expired", func(_ *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			time.Sleep(time.Hour)
			return resumed(token)
		}, loginWrong},
		{"another password", func(r *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			r.node.set(func() { r.node.people[1].CredentialsSequence = 77 })
			r.node.changed(credentials(1, event.EndReason_END_REASON_PASSWORD_CHANGED))
			return resumed(token)
		}, loginWrong},
		{"disabled", func(r *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			r.node.set(func() { r.node.people[1].Disabled = true })
			r.node.changed(credentials(1, event.EndReason_END_REASON_DISABLED))
			return resumed(token)
		}, loginWrong},
		{"left", func(r *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			r.node.set(func() { r.node.people[1].Employment = left })
			r.node.changed(&frame.PersonChanged{User: 1})
			return resumed(token)
		}, loginWrong},
		{"account gone", func(r *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			r.node.set(func() { delete(r.node.people, 1) })
			r.node.changed(&frame.PersonChanged{User: 1})
			return resumed(token)
		}, loginWrong},
		{"signed by somebody else", func(_ *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			return resumed(sign(bytes.Clone(token[:tokenBody]), bytes.Repeat([]byte{'x'}, 32)))
		}, loginWrong},
		{"the secret was renewed", func(_ *rig, s *safe, token []byte) *imlogin.IMLoginReq {
			s.renew('2')
			time.Sleep(secretsFor)
			return resumed(token)
		}, loginOK},
		{"the secret was renewed twice", func(_ *rig, s *safe, token []byte) *imlogin.IMLoginReq {
			s.renew('2')
			s.renew('3')
			time.Sleep(secretsFor)
			return resumed(token)
		}, loginWrong},
		{"the secrets can't be read anew", func(_ *rig, s *safe, token []byte) *imlogin.IMLoginReq {
			s.err = errAway
			time.Sleep(secretsFor)
			return resumed(token)
		}, loginOK},
		{"the view is away", func(r *rig, _ *safe, token []byte) *imlogin.IMLoginReq {
			r.node.changed(&frame.PersonChanged{User: 1})
			r.node.set(func() { r.node.unavailable = errAway })
			return resumed(token)
		}, loginServer},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSafe()
				r := newRig(t, withTokens(s))
				_, res := r.enter(featured("ann"))
				w, got := r.enter(c.spoil(r, s, res.GetResumeToken()))
				if got.GetResultCode() != c.code {
					t.Errorf("answer %v, want result %d", got, c.code)
				}
				if c.code != loginOK && (!w.over || got.ResumeToken != nil || got.UserInfo != nil) {
					t.Errorf("closed %t, answer %v", w.over, got)
				}
			})
		})
	}
}

// Every byte of a token counts.
func TestNoBitOfATokenCanBeChanged(t *testing.T) {
	s := newSafe()
	k := &keeper{ttl: time.Hour, read: s.read}
	now := time.Now()
	token, _, err := k.issue(t.Context(), 7, 3, now)
	if err != nil {
		t.Fatal(err)
	}
	if user, credentials, err := k.check(t.Context(), token, now); user != 7 || credentials != 3 || err != nil {
		t.Fatalf("user %d, credentials %d, %v", user, credentials, err)
	}
	for i := range len(token) * 8 {
		bad := bytes.Clone(token)
		bad[i/8] ^= 1 << (i % 8)
		if user, _, err := k.check(t.Context(), bad, now); !errors.Is(err, errForged) || user != 0 {
			t.Fatalf("bit %d changed: user %d, %v", i, user, err)
		}
	}
	if s.reads != 1 {
		t.Errorf("forged tokens had the secrets read %d times", s.reads)
	}
}

// A node whose secrets are old can read the token that another one made under a new one.
func TestATokenUnderANewSecretIsReadByANodeThatHasNotHeardOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSafe()
		old, other := &keeper{ttl: time.Hour, read: s.read}, &keeper{ttl: time.Hour, read: s.read}
		if _, _, err := old.issue(t.Context(), 1, 0, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(secretsPause)
		s.renew('2')
		token, _, err := other.issue(t.Context(), 7, 3, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if user, _, err := old.check(t.Context(), token, time.Now()); user != 7 || err != nil {
			t.Errorf("user %d, %v", user, err)
		}
	})
}

func TestWithoutSecretsALoginGetsNoTokenAndATokenNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSafe()
		s.err = errAway
		s.secrets = nil
		r := newRig(t, withTokens(s))
		if _, res := r.enter(featured("ann")); res.GetResultCode() != loginOK || res.ResumeToken != nil {
			t.Errorf("answer %v", res)
		}
		reads := s.reads
		if _, res := r.enter(resumed(append([]byte{tokenVersion}, make([]byte, tokenSize-1)...))); res.GetResultCode() != loginServer {
			t.Errorf("a token: %v", res)
		}
		if s.reads != reads {
			t.Error("the next one waits for the secrets again")
		}
		time.Sleep(secretsPause)
		s.err = nil
		s.renew('1')
		if _, res := r.enter(featured("bob")); len(res.GetResumeToken()) != tokenSize {
			t.Errorf("when they are back: %v", res)
		}
	})
}

func TestTokensCanBeSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, res := r.enter(featured("ann"))
		if res.GetResultCode() != loginOK || res.ResumeToken != nil || res.GetFeatures()&uint32(imextension.Feature_FEATURE_RESUME) != 0 {
			t.Errorf("answer %v", res)
		}
		if _, res := r.enter(resumed(make([]byte, tokenSize))); res.GetResultCode() != loginWrong {
			t.Errorf("a token: %v", res)
		}
	})
}

func TestAHashOfTeamTalkIsReplacedAtTheFirstLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		sum := md5.Sum([]byte(md5hex("pw") + "1234"))
		stored, err := password.TeamTalkHash("1234", hex.EncodeToString(sum[:]))
		if err != nil {
			t.Fatal(err)
		}
		r.node.set(func() { r.node.people[1].PasswordHash, r.node.people[1].CredentialsSequence = stored, 5 })
		if _, res := r.enter(loginReq("ann", "no", windows)); res.GetResultCode() != loginWrong {
			t.Errorf("a wrong password: %v", res)
		}
		if k := r.node.kinds(); slices.Contains(k, "PasswordRehashed") {
			t.Error("replaced without the password")
		}
		if _, res := r.enter(loginReq("ann", "pw", windows)); res.GetResultCode() != loginOK {
			t.Fatalf("answer %v", res)
		}
		r.step()
		re := r.node.find("PasswordRehashed").GetPasswordRehashed()
		if re.GetUser() != 1 || re.GetCredentialsSequence() != 5 || password.Outdated(re.GetPasswordHash()) {
			t.Fatalf("event %v", re)
		}
		if ok, err := r.hasher.Verify(t.Context(), md5hex("pw"), re.GetPasswordHash()); !ok || err != nil {
			t.Errorf("the new hash: %v, %v", ok, err)
		}
		if n := r.srv.rehashing.Load(); n != 0 {
			t.Errorf("%d are still under way", n)
		}
		// The next login finds the new one, and asks for nothing more.
		r.node.set(func() { r.node.people[1].PasswordHash = re.GetPasswordHash() })
		r.node.changed(&frame.PersonChanged{User: 1})
		before := len(r.node.kinds())
		if _, res := r.enter(loginReq("ann", "pw", windows)); res.GetResultCode() != loginOK {
			t.Errorf("with the new hash: %v", res)
		}
		r.step()
		if k := r.node.kinds()[before:]; slices.Contains(k, "PasswordRehashed") {
			t.Error("replaced again")
		}
	})
}

// verifier is an identity provider that knows the tokens "for NAME".
type verifier struct {
	creates bool
	err     error
}

func (v *verifier) Creates() bool { return v.creates }
func (v *verifier) Verify(_ context.Context, token string) (identity.Claims, error) {
	var name string
	if n, _ := fmt.Sscanf(token, "for %s", &name); n != 1 && v.err == nil {
		return identity.Claims{}, fmt.Errorf("%w: not of this world", identity.ErrRefused)
	}
	return identity.Claims{Name: name}, v.err
}

func TestATokenOfAnIdentityProviderLogsIn(t *testing.T) {
	byToken := func(token string) *imlogin.IMLoginReq {
		req := resumed(nil)
		req.ResumeToken, req.IdentityToken = nil, &token
		return req
	}
	cases := []struct {
		name  string
		v     *verifier
		token string
		edit  func(r *rig)
		code  imbase.ResultType
	}{
		{"good", &verifier{}, "for ann", nil, loginOK},
		{"bad", &verifier{}, "bad", nil, loginWrong},
		{"no keys", &verifier{err: identity.ErrNoKeys}, "for ann", nil, loginServer},
		{"no account", &verifier{}, "for nobody", nil, loginWrong},
		{"disabled", &verifier{}, "for ann", func(r *rig) { r.node.people[1].Disabled = true }, loginWrong},
		{"no provider", nil, "for ann", nil, loginWrong},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTokens(newSafe()), func(cfg *Config) {
					if c.v != nil {
						cfg.Identity = c.v
					}
				})
				if c.edit != nil {
					c.edit(r)
				}
				_, res := r.enter(byToken(c.token))
				if res.GetResultCode() != c.code {
					t.Fatalf("answer %v, want %d", res, c.code)
				}
				if c.code == loginOK && (res.GetUserInfo().GetUserId() != 1 || len(res.GetResumeToken()) != tokenSize) {
					t.Errorf("answer %v", res)
				}
			})
		})
	}
}
