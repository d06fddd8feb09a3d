package teamtalk_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/bus"
	"godwit/connector/delivery"
	"godwit/internal/teamtalk"
	"godwit/internal/up"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"

	"google.golang.org/protobuf/proto"
)

var (
	seed     = flag.Uint64("seed", 0, "of the made dump; 0: another one each time")
	messages = flag.Int("messages", 100_000, "in the made dump")
)

// made is a dump that was made, and what an import of it must bring.
type made struct {
	sql     bytes.Buffer
	people  map[uint32]string // login names
	want    map[event.ConversationKey][]wanted
	members map[uint32][]uint32  // of each group, at the end
	joined  map[[2]uint32]uint32 // group, user: the first id that he sees
	voices  map[string][]byte    // files of the store
	missing uint64               // placeholders
}

type wanted struct {
	from, created uint32
	body          string
	missing       bool
	hole          bool // the dump has no row of it
}

const tables = "CREATE TABLE `IMUser` (`id` int, `sex` int, `name` varchar(32), `domain` varchar(32), `nick` varchar(32), `password` varchar(32), `salt` varchar(4), `phone` varchar(11), `email` varchar(64), `avatar` varchar(255), `departId` int, `status` int, `created` int, `updated` int, `push_shield_status` int, `sign_info` varchar(128), PRIMARY KEY (`id`));\n" +
	"CREATE TABLE `IMDepart` (`id` int, `departName` varchar(64), `priority` int, `parentId` int, `status` int, `created` int, `updated` int);\n" +
	"CREATE TABLE `IMGroup` (`id` int, `name` varchar(256), `avatar` varchar(256), `creator` int, `type` int, `userCnt` int, `status` int, `version` int, `lastChated` int, `updated` int, `created` int);\n" +
	"CREATE TABLE `IMGroupMember` (`id` int, `groupId` int, `userId` int, `status` int, `created` int, `updated` int);\n" +
	"CREATE TABLE `IMRelationShip` (`id` int, `smallId` int, `bigId` int, `status` int, `created` int, `updated` int);\n" +
	"CREATE TABLE `IMRecentSession` (`id` int, `userId` int, `peerId` int, `type` int, `status` int, `created` int, `updated` int);\n" +
	"CREATE TABLE `IMAudio` (`id` int, `fromId` int, `toId` int, `path` varchar(255), `size` int, `duration` int, `created` int);\n"

const (
	begin     = 1_400_000_000 // seconds
	personID  = 100           // the first number of a user
	groupID   = 500
	everybody = 1000
	groups    = 50
)

// make writes a dump as a server might have left it, its known defects included.
func makeDump(r *rand.Rand, total int) *made {
	m := &made{people: map[uint32]string{}, want: map[event.ConversationKey][]wanted{}, members: map[uint32][]uint32{},
		joined: map[[2]uint32]uint32{}, voices: map[string][]byte{}}
	m.sql.WriteString("-- MySQL dump\n/*!40101 SET NAMES utf8mb4 */;\n" + tables)
	for t := range 8 {
		fmt.Fprintf(&m.sql, "CREATE TABLE `IMMessage_%d` (`id` int, `relateId` int, `fromId` int, `toId` int, `msgId` int, `content` varchar(4096), `type` int, `status` int, `updated` int, `created` int);\n", t)
		fmt.Fprintf(&m.sql, "CREATE TABLE `IMGroupMessage_%d` (`id` int, `groupId` int, `userId` int, `msgId` int, `content` varchar(4096), `type` int, `status` int, `updated` int, `created` int);\n", t)
	}
	lines := map[string][]string{}
	insert := func(table, format string, args ...any) {
		lines[table] = append(lines[table], "("+fmt.Sprintf(format, args...)+")")
	}
	for d := range 20 {
		insert("IMDepart", "%d,'dept %d',%d,%d,%d,1,1", d+1, d, d, d/2, d%7/6)
	}
	for i := range everybody {
		id := uint32(personID + i)
		name := fmt.Sprintf("Person%d", i)
		m.people[id] = strings.ToLower(name)
		switch i {
		case 7: // the name of another
			name = "PERSON3"
			m.people[id] = fmt.Sprintf("user-%d", id)
		case 8:
			name = "no name at all"
			m.people[id] = fmt.Sprintf("user-%d", id)
		}
		insert("IMUser", "%d,%d,'%s','%s','nick \\'%d\\'','e63d43d38a008d9ca3cfdef06f6ac223','1234','123','a@b','',%d,%d,1,1,%d,'sign'",
			id, i%4, name, name, i, i%20+1, i%50/49*3, i%10/9)
	}
	users := func() uint32 { return uint32(personID + r.IntN(everybody)) }
	rows := 0
	text := func(what string) string { return fmt.Sprintf("text-%s-%d==", what, r.IntN(1000)) }

	// Groups: members come and go while messages are sent.
	for g := range groups {
		id := uint32(groupID + g)
		key := event.Group(id)
		now := uint32(begin + r.IntN(1000))
		type stay struct{ joined, left uint32 }
		stays := map[uint32]*stay{}
		for range 3 + r.IntN(40) {
			stays[users()] = &stay{joined: now}
		}
		creator := uint32(0)
		for u := range stays {
			creator = max(creator, u)
		}
		created := now
		head := uint32(0)
		for range total / 2 / groups {
			now += uint32(r.IntN(3))
			switch r.IntN(20) {
			case 0:
				if u := users(); stays[u] == nil {
					now++
					stays[u] = &stay{joined: now}
					m.joined[[2]uint32{id, u}] = head + 1
				}
			case 1:
				for _, u := range slices.Sorted(maps.Keys(stays)) {
					if s := stays[u]; s.left == 0 && s.joined < now && u != creator && r.IntN(3) == 0 {
						now++
						s.left = now
						now++
						break
					}
				}
			}
			var from uint32
			for u, s := range stays {
				if s.left == 0 && u > from {
					from = u
				}
			}
			head++
			m.add(r, insert, key, head, from, now, &rows, text)
		}
		insert("IMGroup", "%d,'group %d','',%d,%d,3,0,5,1,1,%d", id, g, creator, 1+g%2, created)
		var there []uint32
		for _, u := range slices.Sorted(maps.Keys(stays)) {
			s := stays[u]
			rows++
			if s.left == 0 {
				there = append(there, u)
				insert("IMGroupMember", "%d,%d,%d,0,%d,%d", rows, id, u, s.joined, s.joined)
			} else {
				insert("IMGroupMember", "%d,%d,%d,1,%d,%d", rows, id, u, s.joined, s.left)
			}
		}
		slices.Sort(there)
		m.members[id] = there
	}

	// Conversations of two.
	relation := 0
	for pairs, left := 0, total/2; left > 0; pairs++ {
		a, b := users(), users()
		key := event.Direct(min(a, b), max(a, b))
		if a == b || m.want[key] != nil {
			continue
		}
		relation++
		insert("IMRelationShip", "%d,%d,%d,0,1,1", relation, min(a, b), max(a, b))
		n := min(left, 1+r.IntN(400))
		left -= n
		twice := pairs%10 == 3 && n > 3 // two relations of one pair, each with ids of its own
		now := uint32(begin + r.IntN(100_000))
		ids := [2]uint32{}
		for range n {
			now++
			from := a
			if r.IntN(2) == 0 {
				from = b
			}
			rel := relation
			k := 0
			if twice && r.IntN(2) == 0 {
				k = 1
				rel = 100_000 + relation
			}
			ids[k]++
			rows++
			content := text(fmt.Sprint(from))
			if !twice {
				m.addDirect(r, insert, key, rel, ids[0], from, now, &rows, content)
				continue
			}
			insert(fmt.Sprintf("IMMessage_%d", rel%8), "%d,%d,%d,%d,%d,'%s',1,0,%d,%d", rows, rel, from, key.Peer(from), ids[k], content, now, now)
			m.want[key] = append(m.want[key], wanted{from: from, created: now, body: content})
		}
		if twice {
			insert("IMRelationShip", "%d,%d,%d,0,1,1", 100_000+relation, min(a, b), max(a, b))
		}
		if pairs%9 == 0 {
			insert("IMRecentSession", "%d,%d,%d,1,1,1,1", pairs, a, b)
		}
	}
	var names []string
	for t := range lines {
		names = append(names, t)
	}
	slices.Sort(names)
	for _, t := range names {
		r.Shuffle(len(lines[t]), func(i, j int) { lines[t][i], lines[t][j] = lines[t][j], lines[t][i] })
		for part := range slices.Chunk(lines[t], 1000) {
			fmt.Fprintf(&m.sql, "INSERT INTO `%s` VALUES %s;\n", t, strings.Join(part, ","))
		}
	}
	m.finish()
	return m
}

type inserter func(table, format string, args ...any)

// add writes a group's message; now and then it is lost, deleted or a voice.
func (m *made) add(r *rand.Rand, insert inserter, key event.ConversationKey, id, from, now uint32, rows *int, text func(string) string) {
	*rows++
	table := fmt.Sprintf("IMGroupMessage_%d", key.GroupID()%8)
	w := wanted{from: from, created: now}
	switch r.IntN(50) {
	case 0:
		w.missing, w.hole = true, true
	case 1:
		insert(table, "%d,%d,%d,%d,'gone',17,1,%d,%d", *rows, key.GroupID(), from, id, now, now)
		w.missing = true
	default:
		w.body = text(fmt.Sprint(from))
		insert(table, "%d,%d,%d,%d,'%s',17,0,%d,%d", *rows, key.GroupID(), from, id, w.body, now, now)
	}
	m.want[key] = append(m.want[key], w)
}

func (m *made) addDirect(r *rand.Rand, insert inserter, key event.ConversationKey, rel int, id, from, now uint32, rows *int, content string) {
	table := fmt.Sprintf("IMMessage_%d", rel%8)
	w := wanted{from: from, created: now}
	switch r.IntN(50) {
	case 0:
		w.missing, w.hole = true, true
	case 1:
		voice := len(m.voices) + 1
		path := fmt.Sprintf("g0/000/%03d/%d.audio", voice%255, voice)
		insert("IMAudio", "%d,%d,%d,'http://127.0.0.1:8700/%s',10,%d,1", voice, from, key.Peer(from), path, voice%60)
		insert(table, "%d,%d,%d,%d,%d,'%d',2,0,%d,%d", *rows, rel, from, key.Peer(from), id, voice, now, now)
		if voice%5 == 0 { // the store has lost it
			w.missing = true
			m.voices[path] = nil
			break
		}
		sound := fmt.Appendf(nil, "sound %d", voice)
		m.voices[path] = sound
		w.body = string(append(binary.BigEndian.AppendUint32(nil, uint32(voice%60)), sound...))
	default:
		w.body = content
		insert(table, "%d,%d,%d,%d,%d,'%s',1,0,%d,%d", *rows, rel, from, key.Peer(from), id, content, now, now)
	}
	m.want[key] = append(m.want[key], w)
}

// finish takes away what no import can know: ids behind the last message that the dump holds.
func (m *made) finish() {
	for key, all := range m.want {
		for len(all) > 0 && all[len(all)-1].hole {
			all = all[:len(all)-1]
		}
		m.want[key] = all
		for _, w := range all {
			if w.missing {
				m.missing++
			}
		}
	}
}

func TestImportOfAMadeDump(t *testing.T) {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d", s)
	m := makeDump(rand.New(rand.NewPCG(s, 1)), *messages)
	dir := t.TempDir()
	file := filepath.Join(dir, "teamtalk.sql")
	if err := os.WriteFile(file, m.sql.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "msfs")
	for path, sound := range m.voices {
		if sound == nil {
			continue
		}
		p := filepath.Join(store, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, sound, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := up.Config{DataDir: filepath.Join(dir, "data"), Durability: bus.OS, Logger: slog.New(slog.DiscardHandler)}
	o := teamtalk.Options{Audio: store, GroupLimit: 10_000}

	// The first run is cut off in the middle.
	ctx, cancel := context.WithCancel(t.Context())
	cut := o
	cut.Progress = func(what string, done, total uint64) {
		if what == "messages" && done > total/2 {
			cancel()
		}
	}
	first, err := up.ImportTeamTalk(ctx, cfg, file, cut)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("cut off in the middle: %v", err)
	}
	if first.Messages.New == 0 || first.People.New != everybody {
		t.Fatalf("the first run brought %+v", first)
	}
	second, err := up.ImportTeamTalk(t.Context(), cfg, file, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages new and %d known in %v, %.0f a second", second.Messages.New, second.Messages.Known, second.Took,
		float64(second.Messages.New+second.Messages.Known)/second.Took.Seconds())
	if second.Messages.Known == 0 || second.Messages.New == 0 {
		t.Errorf("the second run brought %+v", second)
	}
	// What the first run had under way when it was cut off it could not count.
	if got := first.Placeholders + second.Placeholders; got > m.missing || got+100 < m.missing {
		t.Errorf("%d placeholders were made, want %d", got, m.missing)
	}
	digest := check(t, cfg, m)
	third, err := up.ImportTeamTalk(t.Context(), cfg, file, o)
	if err != nil {
		t.Fatal(err)
	}
	if n := third.Messages.New + third.People.New + third.Groups.New + third.Changes.New + third.Departments.New; n != 0 {
		t.Errorf("the third run brought %d: %+v", n, third)
	}
	if again := check(t, cfg, m); !slices.Equal(again, digest) {
		t.Errorf("the third run has changed rows:\n%v\n%v", digest, again)
	}
}

// check compares what the views hold with what was made, and gives what a third import must not change.
func check(t *testing.T, cfg up.Config, m *made) (state []string) {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Config{Dir: filepath.Join(cfg.DataDir, "nats"), Durability: bus.OS})
	if err != nil {
		t.Fatal(err)
	}
	owners, err := owner.Open(t.Context(), owner.Config{Bus: b, Dir: filepath.Join(cfg.DataDir, "views")})
	if err != nil {
		t.Fatal(err)
	}
	node, err := delivery.New(delivery.Config{Bus: b, Handler: deaf{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- owners.Run(ctx) }()
	go func() { ended <- node.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
		<-ended
		if err := errors.Join(owners.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}()
	<-node.Started()
	ask := func(ans *query.Answer, err error) *query.Answer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return ans
	}
	for id, name := range m.people {
		ans := ask(node.Ask(t.Context(), &query.Request{Body: &query.Request_AccountByName{AccountByName: &query.AccountByName{Name: name}}}))
		if a := ans.GetAccount().GetAccount(); a.GetUser() != id || !strings.HasPrefix(a.GetPasswordHash(), "$teamtalk$1234$") {
			t.Errorf("%s is %v, want %d", name, a, id)
		}
	}
	total := 0
	for key, want := range m.want {
		reader, first := uint32(0), uint32(1)
		if key.IsDirect() {
			reader, _ = key.Parties()
		} else {
			ans := ask(node.AskTimeline(t.Context(), key, &query.Request{Body: &query.Request_GroupState{GroupState: &query.GroupState{Conversation: key[:], Members: true}}}))
			g := ans.GetGroup()
			if !slices.Equal(g.GetMembers(), m.members[key.GroupID()]) {
				t.Errorf("group %d has the members %v, want %v", key.GroupID(), g.GetMembers(), m.members[key.GroupID()])
			}
			group := proto.CloneOf(g.GetGroup())
			group.SubjectSequence = 0 // moved by a change that was known already
			state = append(state, group.String())
			if len(g.GetMembers()) == 0 {
				continue
			}
			// The one who came last, so that what he may not see is looked at as well.
			for _, u := range g.GetMembers() {
				if f := max(1, m.joined[[2]uint32{key.GroupID(), u}]); reader == 0 || f > first {
					reader, first = u, f
				}
			}
		}
		ans := ask(node.AskTimeline(t.Context(), key, &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: key[:], User: reader}}}))
		if h := ans.GetHead(); int(h.GetHead()) != len(want) || h.GetCursor() != h.GetHead() {
			t.Errorf("conversation %x: head %d, read up to %d, want %d", key, h.GetHead(), h.GetCursor(), len(want))
		}
		for first > 1 && want[first-2].hole {
			first-- // when it was sent nobody knows
		}
		next := uint32(len(want))
		for next >= first {
			ans := ask(node.AskTimeline(t.Context(), key, &query.Request{Body: &query.Request_History{History: &query.History{
				Conversation: key[:], User: reader, Begin: next, Count: 1000}}}))
			got := ans.GetMessages().GetMessages()
			if len(got) == 0 {
				t.Fatalf("conversation %x holds nothing at %d of %d (first %d)", key, next, len(want), first)
			}
			for _, g := range got {
				w := want[g.Id-1]
				if g.Id != next || string(g.Body) != w.body || g.Missing != w.missing || !w.missing && (g.From != w.from || g.Created != w.created) {
					t.Fatalf("conversation %x, message %d is %v, want %+v at %d", key, g.Id, g, w, next)
				}
				next--
				total++
			}
		}
		if next+1 != first {
			t.Errorf("conversation %x: member %d sees from %d on, want from %d", key, reader, next+1, first)
		}
	}
	if total < *messages/2 {
		t.Errorf("only %d messages were compared", total)
	}
	slices.Sort(state)
	return state
}

type deaf struct{}

func (deaf) SessionOver(*frame.SessionOver)             {}
func (deaf) UserStatus(uint32, bool, uint64)            {}
func (deaf) DesktopStatus(uint32, bool, uint64)         {}
func (deaf) PersonChanged(*frame.PersonChanged, uint64) {}
func (deaf) DropCaches()                                {}
func (deaf) CloseAll(error)                             {}
func (deaf) Relay(*frame.Relay)                         {}
func (deaf) Suspend(bool)                               {}

func TestImportRefusesNumbersThatAreTaken(t *testing.T) {
	dir := t.TempDir()
	cfg := up.Config{DataDir: filepath.Join(dir, "data"), Durability: bus.OS, Logger: slog.New(slog.DiscardHandler)}
	write := func(name, user string) string {
		file := filepath.Join(dir, name)
		sql := tables + "INSERT INTO `IMUser` VALUES (5,1,'" + user + "','','n','e63d43d38a008d9ca3cfdef06f6ac223','1234','','','',0,0,1,1,0,'');\n"
		if err := os.WriteFile(file, []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if _, err := up.ImportTeamTalk(ctx, cfg, write("a.sql", "anna"), teamtalk.Options{}); err != nil {
		t.Fatal(err)
	}
	_, err := up.ImportTeamTalk(ctx, cfg, write("b.sql", "bela"), teamtalk.Options{})
	if !errors.Is(err, teamtalk.ErrOther) || !strings.Contains(err.Error(), `user 5 is "anna" here`) {
		t.Errorf("another's number: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "c.sql"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := up.ImportTeamTalk(ctx, cfg, filepath.Join(dir, "c.sql"), teamtalk.Options{}); !errors.Is(err, teamtalk.ErrDump) {
		t.Errorf("no dump: %v", err)
	}
}
