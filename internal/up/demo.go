package up

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"godwit/internal/admin"
)

// demoPeople are birds of passage.
var demoPeople = []string{"anna", "bela", "chen", "dora", "emil", "fatma", "goran", "hana", "ivo", "june"}

// demoMark is a file in a data directory that a demo made. It holds the password of the demo's people, so that they stay
// signed in when the demo is started again.
const demoMark = "demo"

// populate makes the people of a demo.
func (p *process) populate(ctx context.Context) error {
	if !p.cfg.Demo {
		return nil
	}
	return demo(ctx, p.dir.Path(), p.people, p.cfg.Out)
}

// demo makes ten people who know each other and prints their names and the one password of them all, which stays the
// same from start to start. A directory with people of its own is refused, whose passwords are nobody's to reset.
func demo(ctx context.Context, dir string, people admin.People, out io.Writer) error {
	password, known, err := demoPassword(ctx, filepath.Join(dir, demoMark), people)
	if err != nil {
		return err
	}
	for _, name := range demoPeople {
		_, err := people.Add(ctx, admin.NewPerson{Name: name, Password: password, Nick: strings.ToUpper(name[:1]) + name[1:]})
		if errors.Is(err, admin.ErrNameTaken) {
			if err = nil; !known {
				err = people.SetPassword(ctx, name, password)
			}
		}
		if err != nil {
			return fmt.Errorf("demo: %s: %w", name, err)
		}
	}
	for i, a := range demoPeople {
		for _, b := range demoPeople[i+1:] {
			if err := people.SetFriends(ctx, a, b, true); err != nil {
				return fmt.Errorf("demo: friends %s and %s: %w", a, b, err)
			}
		}
	}
	fmt.Fprintf(out, "demo people: %s\ndemo password of all: %s\n", strings.Join(demoPeople, " "), password)
	return nil
}

// demoPassword gives the password that an earlier start has noted, or notes a new one; known tells whether the people who
// are there have it.
func demoPassword(ctx context.Context, mark string, people admin.People) (password string, known bool, err error) {
	text, err := os.ReadFile(mark)
	switch {
	case err == nil:
		if password, known = strings.CutPrefix(strings.TrimSpace(string(text)), demoPrefix); known && password != "" {
			return password, true, nil
		}
	case errors.Is(err, fs.ErrNotExist):
		page, err := people.List(ctx, 0, 1)
		if err != nil {
			return "", false, fmt.Errorf("demo: %w", err)
		}
		if len(page.People) > 0 {
			return "", false, fmt.Errorf("--demo: %s holds people of its own: give a new directory with --data", filepath.Dir(mark))
		}
	default:
		return "", false, fmt.Errorf("demo: %w", err)
	}
	password = strings.ToLower(rand.Text()[:10])
	if err := os.WriteFile(mark, []byte(demoPrefix+password+"\n"), 0o600); err != nil {
		return "", false, fmt.Errorf("demo: %w", err)
	}
	return password, false, nil
}

const demoPrefix = "password of the people of the demo: "
