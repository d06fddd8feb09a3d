package ttclient

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imextension "godwit/schema/client/extension"
)

// Synced is what has changed since a token.
type Synced struct {
	Token   []byte // to ask with next time
	Whole   bool   // everything: what is not among Entries counts no more
	Entries []*imextension.SyncEntry

	Directory, Departments, Friends bool // these lists have changed
}

// synced puts an answer of one or several PDUs together.
func synced(all []proto.Message) (*Synced, error) {
	s := &Synced{}
	for _, m := range all {
		r, ok := m.(*imextension.SyncRsp)
		if !ok {
			return nil, fmt.Errorf("a sync was answered with %s", nameOf(m))
		}
		s.Token = r.GetSyncToken()
		s.Whole = s.Whole || r.GetWhole()
		s.Entries = append(s.Entries, r.GetEntries()...)
		s.Directory = s.Directory || r.GetDirectoryChanged()
		s.Departments = s.Departments || r.GetDepartmentsChanged()
		s.Friends = s.Friends || r.GetFriendsChanged()
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("sync: %w", errShort)
	}
	return s, nil
}

// Features are those that both sides understand.
func (c *Client) Features() uint32 { return c.features }

// ResumeToken logs in again without the password, until expires; nil if the server gave none.
func (c *Client) ResumeToken() (token []byte, expires time.Time) { return c.resume, c.expires }

// Synced is what came with the login for Options.SyncToken; nil without one.
func (c *Client) Synced() *Synced { return c.synced }

// Sync asks for what has changed since a token; an empty one asks for everything. Pushes that
// come while it is answered stand to the answer as they do to any: what Push is called with
// before it ends may be in it already.
func (c *Client) Sync(ctx context.Context, token []byte) (*Synced, error) {
	if token == nil {
		token = []byte{}
	}
	all, err := c.call(ctx, client.CmdSyncReq, c.o.Sequence.Next(), &imextension.SyncReq{SyncToken: token},
		func(m proto.Message) bool {
			r, ok := m.(*imextension.SyncRsp)
			return !ok || !r.GetMore()
		})
	if err != nil {
		return nil, err
	}
	return synced(all)
}
