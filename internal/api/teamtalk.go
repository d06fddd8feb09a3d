package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"godwit/commands"
	"godwit/schema/event"
)

// TeamTalk's http_msg_server, as the old back ends of an installation know it. What it did not have is a key: it is given
// as app_key, or as a bearer token, and needs the scope groups:write. User 0 acts, so everything is allowed.
const teamTalkPrefix = "/query/"

// Its error codes.
const (
	ttOK         = 0
	ttParameters = 1  // parameters are missing or of a wrong type
	ttKey        = 2  // the key is unknown
	ttForbidden  = 5  // the key may not do this
	ttServer     = 10 // not available now
	ttCreate     = 11 // the group was not made
	ttChange     = 12 // the members were not changed
)

var ttMessages = map[int]string{
	ttOK: "成功", ttParameters: "参数错误", ttKey: "appkey不存在", ttForbidden: "没有权限", ttServer: "服务器异常", ttCreate: "创建群失败", ttChange: "更改群成员失败",
}

// ttRequest is a body of either path. What is missing stays nil.
type ttRequest struct {
	User    *uint32   `json:"req_user_id"`
	Key     *string   `json:"app_key"`
	Name    *string   `json:"group_name"`
	Type    *uint32   `json:"group_type"`
	Avatar  *string   `json:"group_avatar"`
	Group   *uint32   `json:"group_id"`
	Modify  *uint32   `json:"modify_type"`
	Members *[]uint32 `json:"user_id_list"`
}

// ttAnswer is its answer; GroupID is there after CreateGroup only, also after a failure.
type ttAnswer struct {
	Code    int     `json:"error_code"`
	Message string  `json:"error_msg"`
	GroupID *uint32 `json:"group_id,omitempty"`
}

func (a *API) teamTalk(w http.ResponseWriter, r *http.Request) {
	do := map[string]func(context.Context, ttRequest) ttAnswer{
		teamTalkPrefix + "CreateGroup": a.ttCreateGroup, teamTalkPrefix + "ChangeMembers": a.ttChangeMembers,
	}[r.URL.Path]
	switch {
	case do == nil:
		notFound(nameNoOperation, "there is no "+r.URL.Path).write(w)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		newProblem(http.StatusMethodNotAllowed, nameNoOperation, "No such operation", r.URL.Path+" takes POST, not "+r.Method).write(w)
		return
	}
	w.Header().Set("Cache-Control", "no-cache") // also where an answer is given again
	ctx, cancel := context.WithTimeout(r.Context(), runLimit)
	defer cancel()
	r = r.WithContext(ctx)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		ttWrite(w, r, ttParameters)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var q ttRequest
	wrong := json.Unmarshal(body, &q) != nil || q.User == nil || q.Key == nil
	credential := bearer(r)
	if credential == "" && q.Key != nil {
		credential = *q.Key
	}
	// Who has no key learns nothing about his parameters.
	c, err := a.gate.admit(ctx, r.RemoteAddr, credential)
	switch p := a.ttProblem(err); {
	case p != nil && p.Status >= 500:
		ttWrite(w, r, ttServer)
		return
	case p != nil:
		ttWrite(w, r, ttKey)
		return
	case !c.may(GroupsWrite):
		ttWrite(w, r, ttForbidden)
		return
	case wrong:
		ttWrite(w, r, ttParameters)
		return
	}
	err = a.once(w, r, c, true, func(w http.ResponseWriter, r *http.Request) { do(r.Context(), q).write(w) })
	if err != nil {
		a.problem(r.URL.Path, err).write(w)
	}
}

func (a *API) ttProblem(err error) *Problem {
	if err == nil {
		return nil
	}
	return a.problem("query", err)
}

func ttWrite(w http.ResponseWriter, r *http.Request, code int) {
	ans := ttAnswer{Code: code}
	if r.URL.Path == teamTalkPrefix+"CreateGroup" {
		ans.GroupID = new(uint32(0))
	}
	ans.write(w)
}

func (t ttAnswer) write(w http.ResponseWriter) {
	t.Message = ttMessages[t.Code]
	b, err := json.MarshalIndent(t, "", "   ")
	if err != nil { // three plain fields
		panic(err)
	}
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	if t.Code == ttServer {
		w.Header().Set("Retry-After", "1") // and it is not remembered as the answer to its Idempotency-Key
	}
	_, _ = w.Write(append(b, '\n'))
}

// ttFailed tells what a caller can wait out from what he can't.
func (a *API) ttFailed(what string, err error, code int) int {
	if a.problem(what, err).Status >= 500 {
		return ttServer
	}
	return code
}

func (a *API) ttCreateGroup(ctx context.Context, q ttRequest) ttAnswer {
	ans := ttAnswer{GroupID: new(uint32(0))}
	if q.Name == nil || q.Type == nil || q.Avatar == nil || q.Members == nil || *q.Type != 1 && *q.Type != 2 {
		ans.Code = ttParameters
		return ans
	}
	number, err := a.makeGroup(ctx, commands.CreateGroup{
		Type: event.GroupType(*q.Type), Name: *q.Name, AvatarURL: *q.Avatar, Members: *q.Members,
	}, false)
	if err != nil {
		ans.Code = a.ttFailed("CreateGroup", err, ttCreate)
		return ans
	}
	ans.GroupID = &number
	return ans
}

func (a *API) ttChangeMembers(ctx context.Context, q ttRequest) ttAnswer {
	if q.Group == nil || q.Modify == nil || q.Members == nil || *q.Modify != 1 && *q.Modify != 2 {
		return ttAnswer{Code: ttParameters}
	}
	if *q.Modify == 2 {
		// Whoever is none of them is passed over, and so is a list without anybody.
		err := a.setMembers(ctx, *q.Group, nil, *q.Members, nil)
		if err != nil && !errors.Is(err, commands.ErrNothingToDo) && !(errors.Is(err, commands.ErrNoMembers) && len(*q.Members) == 0) {
			return ttAnswer{Code: a.ttFailed("ChangeMembers", err, ttChange)}
		}
		return ttAnswer{}
	}
	people, err := a.joining(ctx, *q.Members, false)
	if err == nil {
		err = a.setMembers(ctx, *q.Group, *q.Members, nil, people)
	}
	if err != nil && !(errors.Is(err, commands.ErrNothingToDo) && callOf(ctx).again) {
		return ttAnswer{Code: a.ttFailed("ChangeMembers", err, ttChange)}
	}
	return ttAnswer{}
}
