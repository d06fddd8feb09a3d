package web

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/e2e/e2etest"
	"godwit/internal/password"
	"godwit/schema/client/content"
)

// past is what was said before a server's first start. It comes in as a TeamTalk installation would, since only that keeps
// the times of messages.
type past struct {
	people []person
	talks  []talk
}

// talk is what two people said; the times rise.
type talk struct {
	a, b  person
	lines []line
}

type line struct {
	from person
	text string
	at   time.Time
}

func (p *past) person(nick string) person {
	first, _, _ := strings.Cut(strings.ToLower(nick), " ")
	id := uint32(len(p.people) + 1)
	who := person{name: first, nick: nick, id: id}
	for _, other := range p.people {
		if other.name == who.name {
			who.name = fmt.Sprint(first, id)
		}
	}
	p.people = append(p.people, who)
	return who
}

// dump writes it as mysqldump does.
func (p *past) dump() string {
	const salt = "1234"
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`)
	var b strings.Builder
	b.WriteString(e2etest.TeamTalkTables())
	for _, who := range p.people {
		fmt.Fprintf(&b, "INSERT INTO `IMUser` VALUES (%d,1,'%s','%s','%s','%s','%s','','','',0,0,1,1,0,'');\n", who.id, who.name, who.name,
			quoted.Replace(who.nick), password.MD5Hex(password.MD5Hex(who.name)+salt), salt)
	}
	row := 0
	for i, t := range p.talks {
		fmt.Fprintf(&b, "INSERT INTO `IMRelationShip` VALUES (%d,%d,%d,0,1,1);\n", i+1, min(t.a.id, t.b.id), max(t.a.id, t.b.id))
		for n, l := range t.lines {
			row++
			fmt.Fprintf(&b, "INSERT INTO `IMMessage_%d` VALUES (%d,%d,%d,%d,%d,'%s',1,0,%d,%d);\n", (i+1)%8, row, i+1, l.from.id, t.a.id+t.b.id-l.from.id, n+1,
				content.EncryptText(l.text), l.at.Unix(), l.at.Unix())
		}
	}
	return b.String()
}

// server starts one that has it.
func (p *past) server(t *testing.T, flags ...string) *server {
	t.Helper()
	chromium(t)
	data, file := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "past.sql")
	if err := os.WriteFile(file, []byte(p.dump()), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "import", "teamtalk", file, "--data", data, "--durability", "os").CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	return alone(t, data, flags...)
}
